"""Putting back what an attribute holds, as opposed to which object the attribute is.

A counter in a list, a running mean in a plain tensor, or a random generator of the model's own
changes a later forward pass although no attribute was assigned.
"""

from __future__ import annotations

import copy
import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

Undo = Callable[[], object]

_CONTAINERS = frozenset({list, dict, set, OrderedDict, defaultdict, Counter, deque})
_INERT = frozenset({bool, int, float, complex, str, bytes, tuple, type(None)})
_DEPTH = 3


def undo_contents(value: Any, *, depth: int = _DEPTH) -> list[Undo]:  # noqa: ANN401 - any attribute
    """Return calls that put the contents of an attribute back.

    Args:
        value: Tensor, array, random generator, or a container of such; of anything else the
            contents are its own business.
        depth: How many containers inside one another are looked into.

    Cost: a copy of the contents.
    """
    kind = type(value)
    if kind in _INERT:
        return []
    if kind not in _CONTAINERS:
        return next(([keep(value)] for sort, keep in _KEEPERS if isinstance(value, sort)), [])
    if not depth:
        return []
    contents = value.copy()
    inner = contents.values() if isinstance(contents, dict) else contents
    undo = [undo for entry in inner for undo in undo_contents(entry, depth=depth - 1)]
    return [lambda: refill(value, contents), *undo]


def refill(container: Any, contents: Any) -> None:  # noqa: ANN401 - list, deque, dict or set
    """Give a container the contents of another, in place."""
    if not container and not contents:
        return
    container.clear()
    if isinstance(container, list | deque):
        container.extend(contents)
    else:
        container.update(contents)


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Bitwise equality, wherever the two lie: NaN equals itself, and 0.0 is not -0.0."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    return torch.equal(byte_view(left), byte_view(right.to(left.device)))


def byte_view(tensor: torch.Tensor) -> torch.Tensor:
    """Return the bytes of a tensor as a flat uint8 tensor."""
    flat = tensor.detach().contiguous().reshape(-1)
    return flat.view(torch.uint8) if flat.numel() else flat.to(torch.uint8)


def _keep_tensor(tensor: torch.Tensor) -> Undo:
    contents = tensor.detach().clone()

    def undo() -> None:
        if same_bits(tensor.detach(), contents):
            return
        if tensor.shape == contents.shape and tensor.dtype == contents.dtype:
            tensor.detach().copy_(contents)
        else:
            tensor.data = contents

    return undo


def _keep_array(array: np.ndarray) -> Undo:
    contents = array.copy()
    return lambda: np.copyto(array, contents)


def _keep_torch_generator(generator: torch.Generator) -> Undo:
    state = generator.get_state()
    return lambda: generator.set_state(state)


def _keep_numpy_generator(generator: np.random.Generator) -> Undo:
    state = copy.deepcopy(generator.bit_generator.state)
    return lambda: setattr(generator.bit_generator, "state", state)


def _keep_python_generator(generator: random.Random) -> Undo:
    state = generator.getstate()
    return lambda: generator.setstate(state)


_KEEPERS: tuple[tuple[type, Callable[[Any], Undo]], ...] = (
    (torch.Tensor, _keep_tensor),
    (np.ndarray, _keep_array),
    (torch.Generator, _keep_torch_generator),
    (np.random.Generator, _keep_numpy_generator),
    (random.Random, _keep_python_generator),
)
