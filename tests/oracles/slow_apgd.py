"""APGD for one image, step by step as in the paper's algorithm 1: slow and obvious."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch


def slow_apgd(
    value_and_gradient: Callable[[torch.Tensor], tuple[float, torch.Tensor]],
    image: torch.Tensor,
    start: torch.Tensor,
    *,
    epsilon: float,
    norm: str,
    steps: int,
) -> list[torch.Tensor]:
    """Return x_0 ... x_steps: the point after each iteration."""
    size = 2 * epsilon
    points, values = [start], []
    best_value, best = -math.inf, (start, start)
    previous, at_last_check, window_start = start, (-1.0, -math.inf), 0
    for k in range(steps):
        point = points[-1]
        value, gradient = value_and_gradient(point)
        values.append(value)
        if value > best_value:
            best_value, best = value, (point, gradient)
        if k in _checkpoints(steps):
            rises = sum(values[i + 1] > values[i] for i in range(window_start, k))
            first = rises < 0.75 * (k - window_start)
            second = at_last_check == (size, best_value)
            at_last_check, window_start = (size, best_value), k
            if first or second:
                size /= 2
                point, gradient = best
                values[-1] = best_value
        unit = gradient.sign() if norm == "linf" else gradient / gradient.norm()
        aim = _project(point + size * unit, image, epsilon, norm)
        share = 1.0 if k == 0 else 0.75
        following = point + share * (aim - point) + (1 - share) * (point - previous)
        previous = point
        points.append(_project(following, image, epsilon, norm))
    return points


def _checkpoints(steps: int) -> set[int]:
    shares = [0.0, 0.22]
    while shares[-1] <= 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return {math.ceil(share * steps - 1e-9) for share in shares[1:]}


def _project(point: torch.Tensor, image: torch.Tensor, epsilon: float, norm: str) -> torch.Tensor:
    change = point - image
    if norm == "linf":
        change = change.clamp(-epsilon, epsilon)
    elif change.norm() > epsilon:
        change = change * (epsilon / change.norm())
    return (image + change).clamp(0, 1)
