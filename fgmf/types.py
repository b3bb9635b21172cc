"""Names for the types that cross module borders; shapes stand in the comment beside each.

Imported by everything, so nothing heavy is imported here at run time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    import torch

Norm: TypeAlias = Literal["linf", "l2", "l1"]
Severity: TypeAlias = Literal["error", "warning", "note"]
Population: TypeAlias = Literal["distribution", "dataset"]
Direction: TypeAlias = Literal["at-least", "at-most"]  # which side of a threshold is accepted
CriterionKind: TypeAlias = Literal["misclassification", "targeted", "top-k"]
Bounds: TypeAlias = tuple[float, float]

# What a JSON document can hold: evidence in a verdict is always of this type.
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

Images: TypeAlias = "torch.Tensor"  # (n, c, h, w), floating point, in the units of `bounds`
Labels: TypeAlias = "torch.Tensor"  # (n,), int64, class indices
Logits: TypeAlias = "torch.Tensor"  # (n, classes), floating point
ImageFlags: TypeAlias = "torch.Tensor"  # (n,), bool, one per image
