"""Seeds: one run seed, from which every random number of a run is derived.

A seed is derived from *names*, never from the order of calls, so that a result does not
depend on batch size, on the number of workers, or on which other gates ran:

    gate seed   = derive_seed(run_seed, gate_name)
    image draws = image_generator(gate_seed, image_key, attack_name, restart)
"""

from __future__ import annotations

import hashlib
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy

DEFAULT_RUN_SEED = 0
"""Fixed, because a random default would invite re-running a gate until it is green."""


def derive_seed(seed: int, *names: str | int) -> int:
    """Derive a 32-bit seed from a parent seed and the names of what it is for.

    Args:
        seed: The parent seed.
        *names: What the new seed is for, from general to particular.

    Returns:
        A non-negative integer below 2**32, short enough to read and exact in every JSON reader;
        the same for the same arguments on every machine.

    Source: SHA-256 over the length-prefixed parts.
    """
    return _fingerprint(seed, names) >> 96


def _fingerprint(seed: int, names: tuple[str | int, ...]) -> int:
    """128 bits of SHA-256 over the length-prefixed parts."""
    digest = hashlib.sha256()
    for part in (seed, *names):
        encoded = f"{type(part).__name__}:{part}".encode()
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return int.from_bytes(digest.digest()[:16], "big")


def image_generator(seed: int, *names: str | int) -> numpy.random.Generator:
    """Return the random generator of one image, restart, or other named thing.

    Args:
        seed: The gate's seed.
        *names: Image key, attack name, restart: what the draws are for.

    Returns:
        A counter-based generator (Philox) whose stream depends on the arguments alone.
    """
    import numpy as np

    return np.random.Generator(np.random.Philox(key=_fingerprint(seed, names)))


@contextmanager
def isolated_randomness(seed: int) -> Iterator[None]:
    """Seed the global generators of Python, NumPy and torch, and put them back afterwards.

    For code that draws from global state (a model with dropout in its forward, a foreign
    attack): inside, its draws are fixed by `seed`; outside, nobody notices.

    Args:
        seed: Seeds all global generators on entry.

    Randomness: restores the state of `random`, `numpy.random`, torch CPU and every CUDA or MPS
        device that was already initialised.
    """
    import numpy as np
    import torch

    python_state = random.getstate()
    numpy_state = np.random.get_state()  # noqa: NPY002 - the user's code may draw from it
    torch_state = torch.get_rng_state()
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    mps_state = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - as above
    if torch.cuda.is_available() or mps_state is not None or torch.xpu.is_available():
        torch.manual_seed(seed)
    else:  # the same for the CPU alone, without a look at each kind of device
        torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002 - as above
        torch.set_rng_state(torch_state)
        if cuda_states is not None:
            torch.cuda.set_rng_state_all(cuda_states)
        if mps_state is not None:
            torch.mps.set_rng_state(mps_state)
