"""The smallest displacement that reaches a hyperplane without leaving the box.

    minimise ||u||_p   subject to   w.u = gap,   0 <= u_i * sign(w_i) <= room_i

with room_i the way to the box in the direction of w_i (a smallest u never moves against w):

    Linf   |u_i| = min(t, room_i)             gain(t) = sum |w_i| min(t, room_i)
    L2     |u_i| = min(t |w_i|, room_i)       gain(t) = sum |w_i| min(t |w_i|, room_i)
    L1     fill whole rooms, largest |w_i| first; the last one in part

Each gain is piecewise linear and rising: t comes exactly from the sorted breakpoints.

Source: the same problems as in FAB (Croce & Hein 2020, appendix); own derivation by sorting.
Cost: none of the model's; O(d log d) per row. Randomness: none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from fgmf.attacks.own.balls import Region
    from fgmf.types import Images, Norm


def smallest_displacement(
    region: Region, normal: Images, gap: torch.Tensor, norm: Norm
) -> tuple[torch.Tensor, torch.Tensor]:
    """Solve the problem above for each row.

    Args:
        region: m rows; its limits are the box.
        normal: (m, ...) w.
        gap: (m,) how much w.u has to rise; rows with gap <= 0 need no displacement.
        norm: p.

    Returns:
        (m, ...) float64 displacements, and (m,) flags of the rows that can reach the
        hyperplane. Where a row cannot, its displacement fills every room.
    """
    weight = normal.double().flatten(1)
    up = (region.high - region.clean).double().flatten(1)
    down = (region.clean - region.low).double().flatten(1)
    room = torch.where(weight > 0, up, down).clamp_min(0.0)
    size = weight.abs()
    room = torch.where(size > 0, room, torch.zeros_like(room))
    wanted = gap.double().clamp_min(0.0)
    if norm == "l1":
        amount = _fill_greedily(size, room, wanted)
    elif norm == "l2":
        amount = torch.minimum(_level(size, size * size, room, wanted) * size, room)
    else:
        amount = torch.minimum(_level(size, size, room, wanted).expand_as(size), room)
    reachable = (size * room).sum(dim=1) >= wanted
    return (amount * weight.sign()).reshape(normal.shape), reachable


def _level(
    size: torch.Tensor, slope: torch.Tensor, room: torch.Tensor, wanted: torch.Tensor
) -> torch.Tensor:
    """(m, 1) the t at which the gain, of which each entry adds `slope` until full, is enough."""
    full_at = torch.where(slope > 0, room * size / slope.clamp_min(1e-300), torch.zeros_like(room))
    places, order = full_at.sort(dim=1)
    sorted_slope = slope.gather(1, order)
    full = (size * room).gather(1, order)
    remaining = sorted_slope.flip(1).cumsum(dim=1).flip(1)  # slope just before each breakpoint
    full_before = full.cumsum(dim=1) - full
    gains = full_before + remaining * places
    at = (gains < wanted[:, None]).sum(dim=1).clamp_max(size.shape[1] - 1)[:, None]
    short = wanted[:, None] - full_before.gather(1, at)
    level = short / remaining.gather(1, at).clamp_min(1e-300)
    return torch.minimum(level, places[:, -1:])


def _fill_greedily(size: torch.Tensor, room: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    order = size.argsort(dim=1, descending=True, stable=True)
    weight, space = size.gather(1, order), room.gather(1, order)
    before = (weight * space).cumsum(dim=1) - weight * space
    part = (wanted[:, None] - before) / weight.clamp_min(1e-300)
    filled = torch.minimum(part.clamp_min(0.0), space)
    return torch.zeros_like(size).scatter(1, order, filled)
