"""Values with one row per image: dataclasses of tensors that are cut and joined along rows."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import torch

if TYPE_CHECKING:
    from dataclasses import Field


class Rowwise(Protocol):
    """A dataclass whose fields are tensors with one row per image, or again such dataclasses."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


R = TypeVar("R", bound=Rowwise)


def take(values: R, rows: torch.Tensor) -> R:
    """Return some rows of every field; `rows` are indices or flags."""
    changes = {}
    for entry in fields(values):
        value = getattr(values, entry.name)
        changes[entry.name] = value[rows] if isinstance(value, torch.Tensor) else take(value, rows)
    return replace(values, **changes)


def join(first: R, second: R) -> R:
    """Return the rows of `first`, then those of `second`."""
    changes = {}
    for entry in fields(first):
        one, two = getattr(first, entry.name), getattr(second, entry.name)
        together = torch.cat([one, two]) if isinstance(one, torch.Tensor) else join(one, two)
        changes[entry.name] = together
    return replace(first, **changes)


def per_row(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Reshape (m,) to (m, 1, ...), so that it applies to each row of `like`."""
    return values.reshape(-1, *([1] * (like.ndim - 1)))


def choose(
    flags: torch.Tensor, where_true: torch.Tensor, where_false: torch.Tensor
) -> torch.Tensor:
    """Choose whole rows: (m, ...) of `where_true` where (m,) `flags` hold, else `where_false`."""
    return torch.where(per_row(flags, where_true), where_true, where_false)
