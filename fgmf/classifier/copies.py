"""Copies of modules, also of such as hold tensors that copying refuses."""

from __future__ import annotations

import copy
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

_Module = TypeVar("_Module", bound=torch.nn.Module)


def copied_module(module: _Module) -> _Module:
    """Return a copy of a module that shares no tensor with it.

    A module may hold tensors that were computed from its parameters and remember how: the older
    weight norm keeps such a one from the start, until the first pass without gradients. Copying
    refuses these, so they are copied as plain numbers; a forward pass computes them anew.

    Args:
        module: Stays as it is.

    Raises:
        Exception: Whatever a module raises that refuses to be copied in a way of its own.
    """
    plain = {id(one): one.detach().clone() for one in _held(module) if not one.is_leaf}
    return copy.deepcopy(module, plain)


def _held(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    """Tensors in attributes and buffers of all its modules."""
    for child in module.modules():
        for value in chain(vars(child).values(), child.buffers(recurse=False)):
            if isinstance(value, torch.Tensor):
                yield value
