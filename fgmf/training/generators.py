"""The global generators of Python, NumPy and torch as plain values, for checkpoints."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def global_state() -> dict[str, Any]:
    """Return the state of every global generator, in types that load without pickled code."""
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - models draw from it
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [str(name), [int(k) for k in keys], int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": list(cuda),
    }


def restore_global_state(state: dict[str, Any]) -> None:
    """Set every global generator to what :func:`global_state` gave."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002 - as above
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
