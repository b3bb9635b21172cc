"""Geometry of a norm ball cut by the box of valid images: projections, steps, random points.

L1 ball and box together, for a displacement z with room b_i in the direction of z_i:

    u_i(t) = sign(z_i) * clip(|z_i| - t, 0, b_i);   S(t) = sum_i |u_i(t)| falls with t
    t = 0 if S(0) <= radius; else the t with S(t) = radius, found exactly on the sorted
        breakpoints |z_i| and |z_i| - b_i of the piecewise linear S

Source: L1 ball and box: Croce & Hein 2021, "Mind the box", proposition 2.1.
Cost: none of the model's. Randomness: only in `random_point`, from the generators given to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from fgmf.attacks.own.rows import per_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from fgmf.threat import ThreatModel
    from fgmf.types import Images, Norm

_INWARD = 1e-6
"""Share of the radius left free in L2 and L1, so that float32 rounding stays inside."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """Where the adversarial images of m rows may lie.

    Attributes:
        clean: (m, ...) the images that the balls are around.
        low: (m, ...) lowest allowed value: the box, for Linf cut with the cube.
        high: (m, ...) highest allowed value.
    """

    clean: Images
    low: Images
    high: Images


def region_around(clean: Images, threat: ThreatModel) -> Region:
    """Return the region that a threat model allows around each image.

    Args:
        clean: (m, ...) inside the bounds.
        threat: Norm, radius, bounds.

    Returns:
        Limits that hold exactly in the images' own floating-point type.
    """
    lower, upper = threat.bounds
    low, high = torch.full_like(clean, lower), torch.full_like(clean, upper)
    if threat.norm == "linf":
        exact = clean.double()
        low = torch.maximum(low, _rounded_up(exact - threat.epsilon, clean.dtype))
        high = torch.minimum(high, -_rounded_up(-(exact + threat.epsilon), clean.dtype))
    return Region(clean=clean, low=low, high=high)


def project(region: Region, points: Images, norm: Norm, radius: torch.Tensor) -> Images:
    """Return the nearest allowed point of each row (L2: ball first, then box).

    Args:
        region: m rows.
        points: (m, ...) same type.
        norm: For Linf the region itself is the cube, and `radius` is not used.
        radius: (m,) of the ball.

    Returns:
        (m, ...) inside the box, and inside the ball up to float rounding.
    """
    if norm == "linf":
        return torch.minimum(torch.maximum(points, region.low), region.high)
    limit = radius.double() * (1 - _INWARD)
    displacement = (points - region.clean).double().flatten(1)
    if norm == "l2":
        size = displacement.norm(dim=1)
        displacement = displacement * (limit / size.clamp_min(1e-300)).clamp_max(1.0)[:, None]
    else:
        displacement = _onto_l1_ball_and_box(displacement, _room(region, displacement), limit)
    moved = region.clean + displacement.reshape(points.shape).to(points.dtype)
    return torch.minimum(torch.maximum(moved, region.low), region.high)


def norms(displacement: torch.Tensor, norm: Norm) -> torch.Tensor:
    """(m,) float64 sizes of (m, ...) displacements."""
    order = {"linf": float("inf"), "l2": 2.0, "l1": 1.0}[norm]
    size: torch.Tensor = torch.linalg.vector_norm(displacement.double().flatten(1), order, dim=1)
    return size


def steepest(gradient: Images, norm: Norm) -> Images:
    """Return the step of norm 1 along which a linear function rises most (Linf and L2).

    A row whose gradient is zero gets a zero step.
    """
    if norm == "linf":
        return gradient.sign()
    size = gradient.double().flatten(1).norm(dim=1).clamp_min(1e-300)
    return (gradient.double() / per_row(size, gradient)).to(gradient.dtype)


def sparse_steepest(gradient: Images, counts: torch.Tensor) -> Images:
    """Return an L1 step of norm 1 spread evenly over the largest entries of the gradient.

    Args:
        gradient: (m, ...).
        counts: (m,) how many entries move; at least 1. Ties are broken by position.

    Returns:
        (m, ...) signs of the gradient on the chosen entries, divided by their number.
    """
    flat = gradient.flatten(1)
    order = flat.abs().argsort(dim=1, descending=True, stable=True)
    places = torch.arange(flat.shape[1], device=flat.device).expand_as(flat)
    counts = counts.clamp(1, flat.shape[1])[:, None]
    chosen = torch.zeros_like(flat).scatter(1, order, (places < counts).to(flat.dtype))
    return (flat.sign() * chosen / counts.to(flat.dtype)).reshape(gradient.shape)


def random_point(
    region: Region, threat: ThreatModel, generators: Sequence[np.random.Generator]
) -> Images:
    """Draw one allowed point per row.

    Args:
        region: m rows.
        threat: Norm and radius.
        generators: One per row.

    Returns:
        (m, ...): Linf: uniform in the cube; L2: on the sphere in a Gaussian direction; L1: the
        projection of a Gaussian draw. All cut to the box.

    Randomness: each row draws from its own generator only.
    """
    shape = tuple(region.clean.shape[1:])
    radius = torch.full((len(generators),), threat.epsilon, device=region.clean.device)
    if threat.norm == "linf":
        rows = [torch.from_numpy(g.random(shape, dtype="float32")) * 2 - 1 for g in generators]
    else:
        rows = [torch.from_numpy(g.standard_normal(shape, dtype="float32")) for g in generators]
    draws = torch.stack(rows).to(region.clean)
    if threat.norm == "l2":
        draws = steepest(draws, "l2")
    scale = 1.0 if threat.norm == "l1" else threat.epsilon
    return project(region, region.clean + scale * draws, threat.norm, radius)


def _room(region: Region, displacement: torch.Tensor) -> torch.Tensor:
    up = (region.high - region.clean).double().flatten(1)
    down = (region.clean - region.low).double().flatten(1)
    return torch.where(displacement > 0, up, down).clamp_min(0.0)


def _onto_l1_ball_and_box(
    displacement: torch.Tensor, room: torch.Tensor, limit: torch.Tensor
) -> torch.Tensor:
    size = displacement.abs()
    level = _level(torch.cat([size, size - room], dim=1), limit).clamp_min(0.0)[:, None]
    return displacement.sign() * torch.minimum((size - level).clamp_min(0.0), room)


def _level(breaks: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
    """(m,) level t at which the piecewise linear sum reaches the limit; 0 if it never does.

    `breaks` holds where a slope of 1 begins (first half) and ends (second half), falling t.
    """
    half = breaks.shape[1] // 2
    places, order = breaks.clamp_min(0.0).sort(dim=1, descending=True)
    turns = torch.where(order < half, 1.0, -1.0).to(breaks.dtype)
    slope = turns.cumsum(dim=1)
    below = torch.cat([places[:, 1:], torch.zeros_like(places[:, :1])], dim=1)
    reached = (slope * (places - below)).cumsum(dim=1)
    at = (reached < limit[:, None]).sum(dim=1).clamp_max(breaks.shape[1] - 1)[:, None]
    excess = reached.gather(1, at)[:, 0] - limit
    step = excess / slope.gather(1, at)[:, 0].clamp_min(1.0)
    level = below.gather(1, at)[:, 0] + step
    return torch.where(excess >= 0, level, torch.zeros_like(level))


def _rounded_up(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    near = values.to(dtype)
    above = torch.nextafter(near, torch.full_like(near, torch.inf))
    return torch.where(near.double() < values, above, near)
