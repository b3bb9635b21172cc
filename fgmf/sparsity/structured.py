"""From scores of weights to a pattern of whole units: channels, heads, hidden units.

score of a unit = mean score of the weights that make it (its rows)
dead units go first: a share that grows takes them along, and no others of score 0 in their place
per group, or over all groups of a kind with each group's mean as its unit: the lowest go
a unit that goes takes its rows, biases, scales and shifts with it, so that it puts out zero
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from fgmf.errors import InvalidInput
from fgmf.sparsity.pattern import SparsityPattern
from fgmf.sparsity.selecting import check_scores, check_share

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from torch import nn

    from fgmf.sparsity.selecting import Scope
    from fgmf.sparsity.units import FoundUnits, UnitGroup


def prune_units(
    model: nn.Module,
    found: FoundUnits,
    scores: Mapping[str, torch.Tensor],
    share: float,
    *,
    scope: Scope = "layer",
    besides: Collection[str] = (),
) -> SparsityPattern:
    """Choose the units with the lowest scores.

    Args:
        model: Whose parameters these are; not changed.
        found: Its units (`find_units`).
        scores: Of single weights, by the name of the parameter; groups without scores stay whole.
        share: Of the units that are removed, from 0 up to, without, 1.
        scope: ``layer`` removes this share of every group, rounded to the nearest whole number;
            ``global`` of all groups of a kind together, so that some layers lose more.
        besides: Names of groups that stay whole.

    Returns:
        The pattern of rows, biases, scales and shifts of the removed units. One unit of each group
        always stays.

    Raises:
        InvalidInput: A share or scores that are none, an unknown group, or nothing to remove.
    """
    check_share(share)
    check_scores(scores)
    unknown = [name for name in besides if name not in found.groups]
    if unknown:
        raise InvalidInput(f"expected names of groups to leave alone, got {unknown[0]!r}")
    parameters = dict(model.named_parameters())
    worth = {
        name: _scaled(unit_scores(group, scores)).masked_fill(_dead(group, parameters), -math.inf)
        for name, group in found.groups.items()
        if name not in besides and _is_scored(group, scores)
    }
    if not worth:
        message = "expected units that can be removed, got none"
        raise InvalidInput(f"{message}: {_refused(found)}")
    choose = _per_group if scope == "layer" else _together
    removed = choose({name: found.groups[name] for name in worth}, worth, share)
    return pattern_of_units(model, found, removed)


def pattern_of_units(
    model: nn.Module, found: FoundUnits, removed: Mapping[str, Collection[int]]
) -> SparsityPattern:
    """Return the pattern that silences units.

    Args:
        model: Whose parameters these are.
        found: Its units.
        removed: Numbers of the units, by the name of their group.

    Raises:
        InvalidInput: There is no such group or unit, or a group would lose all.
    """
    parameters = dict(model.named_parameters())
    kept: dict[str, torch.Tensor] = {}
    for name, units in removed.items():
        group = found.groups.get(name)
        if group is None or not set(units) < set(range(group.size)):
            size = "no such group" if group is None else f"{group.size} units"
            raise InvalidInput(f"expected some, not all, units of group {name!r}, got {size}")
        for entry in group.of_role("source", "companion"):
            if entry.name in parameters and units:
                whole = torch.ones(parameters[entry.name].shape, dtype=torch.bool)
                flags = kept.setdefault(entry.name, whole)
                flags.index_fill_(entry.dim, torch.tensor(entry.indices(units)), value=False)
    return SparsityPattern.of(kept)


def unit_scores(group: UnitGroup, scores: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the mean score of the weights that make each unit: (size,) float64."""
    total, count = torch.zeros(group.size, dtype=torch.float64), 0
    for entry in group.of_role("source"):
        if entry.name in scores:
            score = scores[entry.name].detach().cpu().double().movedim(entry.dim, 0)
            stretch = score[entry.offset : entry.offset + group.size * entry.repeat]
            rows = stretch.reshape(group.size, -1)
            total, count = total + rows.sum(dim=1), count + rows.shape[1]
    return total / max(1, count)


def _dead(group: UnitGroup, parameters: Mapping[str, nn.Parameter]) -> torch.Tensor:
    """(size,) units whose rows are all zero."""
    dead = torch.ones(group.size, dtype=torch.bool)
    for entry in group.of_role("source"):
        if entry.name in parameters:
            values = parameters[entry.name].detach().cpu().movedim(entry.dim, 0)
            stretch = values[entry.offset : entry.offset + group.size * entry.repeat]
            dead &= stretch.reshape(group.size, -1).eq(0).all(dim=1)
    return dead


def _scaled(scores: torch.Tensor) -> torch.Tensor:
    """With the mean of the group as the unit: what groups are compared by."""
    return scores / (float(scores.mean()) or 1.0)


def _is_scored(group: UnitGroup, scores: Mapping[str, torch.Tensor]) -> bool:
    return any(entry.name in scores for entry in group.of_role("source"))


def _per_group(
    groups: Mapping[str, UnitGroup], worth: Mapping[str, torch.Tensor], share: float
) -> dict[str, list[int]]:
    return {
        name: _lowest(worth[name], min(group.size - 1, round(share * group.size)))
        for name, group in groups.items()
    }


def _together(
    groups: Mapping[str, UnitGroup], worth: Mapping[str, torch.Tensor], share: float
) -> dict[str, list[int]]:
    removed: dict[str, list[int]] = {name: [] for name in groups}
    for kind in {group.kind for group in groups.values()}:
        names = [name for name, group in groups.items() if group.kind == kind]
        ranked = sorted(
            (score, name, unit) for name in names for unit, score in enumerate(worth[name].tolist())
        )
        left = round(share * len(ranked))
        for _, name, unit in ranked:
            if left and len(removed[name]) < groups[name].size - 1:
                removed[name].append(unit)
                left -= 1
    return {name: sorted(units) for name, units in removed.items()}


def _lowest(scores: torch.Tensor, count: int) -> list[int]:
    chosen: list[int] = scores.argsort(stable=True)[:count].tolist()
    return sorted(chosen)


def _refused(found: FoundUnits) -> str:
    lines = [f"{layer}: {reason}" for layer, reason in found.refusals.items()]
    return "; ".join(lines[:3]) or "no scored layer makes units"
