"""Take dead units out of a model: smaller tensors, the same outputs.

dead      a unit whose rows, biases, scales and shifts are all zero, so that it puts out zero; or
          one that nobody reads: all its columns in the next layers are zero
plan      for every tensor and axis, which indices stay        # JSON: a fresh model takes it, too
compact   a copy with the plan carried out, held against the original on images

Cost: three forward passes of the images.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from fgmf.errors import InvalidInput
from fgmf.sparsity.removal import RemovalPlan
from fgmf.sparsity.tracing import find_units

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from fgmf.sparsity.pattern import SparsityPattern
    from fgmf.sparsity.units import FoundUnits, Slice, UnitGroup
    from fgmf.types import Images

TOLERANCE = 1e-5
"""Largest accepted gap of outputs, over the largest of them where that is above 1: float32 sums of
fewer terms round otherwise."""


@dataclass(frozen=True, kw_only=True)
class Compaction:
    """A model without its dead units.

    Attributes:
        model: A new module of the same class, in the mode of the original.
        plan: What was taken out, for a fresh model of the original's shapes.
        removed: By group, how many units of how many.
        refused: Layers with dead units that stay, and why; empty unless that was accepted.
        parameters_before: Numbers in the original's parameters.
        parameters: Numbers that are left.
        output_gap: Largest absolute difference of an output on the images.
    """

    model: nn.Module
    plan: RemovalPlan
    removed: Mapping[str, tuple[int, int]]
    refused: Mapping[str, str]
    parameters_before: int
    parameters: int
    output_gap: float


def compact(
    model: nn.Module,
    images: Images,
    *,
    pattern: SparsityPattern | None = None,
    accept_refusals: bool = False,
) -> Compaction:
    """Take the dead units out of a copy of a model.

    Args:
        model: With zeros where units are dead; left as it is.
        images: (n, ...) examples on which both models must agree, and which show the shapes.
        pattern: Applied to the copy first; None takes the zeros that the model has.
        accept_refusals: Leave dead units that cannot be taken out, instead of raising.

    Returns:
        The smaller model, and what was done.

    Raises:
        InvalidInput: The forward pass cannot be followed; a layer has dead units that cannot be
            taken out (the message names it); or the outputs moved.
    """
    smaller = copy.deepcopy(model)
    if pattern is not None:
        pattern.apply(smaller)
    modes = {name: module.training for name, module in smaller.named_modules()}
    smaller.eval()
    found = find_units(smaller, images[:2])
    with torch.no_grad():
        before = smaller(images)
    refused = _refused(smaller, found)
    if refused and not accept_refusals:
        name, reason = next(iter(refused.items()))
        raise InvalidInput(
            f"expected dead units that can be taken out, got some in layer {name}: {reason}; "
            "prune other layers, or accept refusals"
        )
    dead = {name: dead_units(smaller, group) for name, group in found.groups.items()}
    dead = {name: units for name, units in dead.items() if units}
    count = sum(p.numel() for p in smaller.parameters())
    plan = RemovalPlan.of(smaller, found, dead)
    plan.apply(smaller)
    with torch.no_grad():
        gap = _gap(before, smaller(images))
    for name, module in smaller.named_modules():
        module.training = modes.get(name, model.training)
    return Compaction(
        model=smaller,
        plan=plan,
        removed={name: (len(units), found.groups[name].size) for name, units in dead.items()},
        refused=refused,
        parameters_before=count,
        parameters=sum(p.numel() for p in smaller.parameters()),
        output_gap=gap,
    )


def dead_units(model: nn.Module, group: UnitGroup) -> list[int]:
    """Return the units of a group that can go without a change of the output; never all of them."""
    parameters = dict(model.named_parameters())
    silent = _all_zero(parameters, group, group.of_role("source", "companion"))
    unread = torch.zeros_like(silent)
    readers = group.of_role("reader")
    if readers and not group.crossing:
        unread = _all_zero(parameters, group, readers)
    units: list[int] = (silent | unread).nonzero().flatten().tolist()
    return units[1:] if len(units) == group.size else units


def _all_zero(
    parameters: Mapping[str, nn.Parameter], group: UnitGroup, slices: tuple[Slice, ...]
) -> torch.Tensor:
    zero = torch.ones(group.size, dtype=torch.bool)
    for entry in slices:
        if entry.name in parameters:
            values = parameters[entry.name].detach().cpu().movedim(entry.dim, 0)
            stretch = values[entry.offset : entry.offset + group.size * entry.repeat]
            zero &= stretch.reshape(group.size, -1).eq(0).all(dim=1)
    return zero


def _refused(model: nn.Module, found: FoundUnits) -> dict[str, str]:
    """Refused layers that have dead rows."""
    modules, refused = dict(model.named_modules()), {}
    for name, reason in found.refusals.items():
        weight = getattr(modules[name], "weight", None)
        bias = getattr(modules[name], "bias", None)
        if weight is None:
            continue
        silent = weight.detach().flatten(1).eq(0).all(dim=1)
        if bias is not None:
            silent &= bias.detach().eq(0)
        if bool(silent.any()):
            refused[name] = reason
    return refused


def _gap(before: object, after: object) -> float:
    if not isinstance(before, torch.Tensor) or not isinstance(after, torch.Tensor):
        message = "expected a model that puts out one tensor, for compaction"
        raise InvalidInput(f"{message}, got {type(before).__name__}; wrap it in one that does")
    gap = float((before - after).abs().max())
    scale = max(1.0, float(before.abs().max()))
    if not gap <= TOLERANCE * scale:
        message = f"expected outputs that stay the same within {TOLERANCE * scale:g}, got {gap:g}"
        raise InvalidInput(f"{message}; please report it, and export the model as it is")
    return gap
