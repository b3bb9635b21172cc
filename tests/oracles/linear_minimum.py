"""Smallest perturbations of linear models in the box, one image at a time, by other means.

Linf and L1: linear programs (SciPy). L2: bisection on the multiplier of the hyperplane.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linprog

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]


def smallest_radius(
    weights: Vector, bias: Vector, image: Vector, label: int, norm: str, bounds: tuple[float, float]
) -> float:
    """Distance from an image to where weights @ x + bias no longer has `label` on top."""
    radii = []
    for other in range(len(bias)):
        if other == label:
            continue
        normal = weights[other] - weights[label]
        gap = -(normal @ image + bias[other] - bias[label])
        if gap <= 0:
            return 0.0
        radii.append(smallest_move(normal, gap, bounds[0] - image, bounds[1] - image, norm))
    return min(radii)


def smallest_move(normal: Vector, gap: float, low: Vector, high: Vector, norm: str) -> float:
    """Smallest norm of u with normal @ u >= gap and low <= u <= high; infinite if there is none."""
    if norm == "l2":
        return _by_bisection(normal, gap, low, high)
    size = len(normal)
    eye = np.eye(size)
    # Variables: u, then t (Linf: |u_i| <= t) or t_i (L1: |u_i| <= t_i).
    bars = np.ones((size, 1)) if norm == "linf" else eye
    extra = bars.shape[1]
    upper = np.block([[eye, -bars], [-eye, -bars], [-normal[None, :], np.zeros((1, extra))]])
    answer = linprog(
        np.concatenate([np.zeros(size), np.ones(extra)]),
        A_ub=upper,
        b_ub=np.concatenate([np.zeros(2 * size), [-gap]]),
        bounds=[*zip(low, high, strict=True), *[(0, None)] * extra],
    )
    return float(answer.fun) if answer.success else np.inf


def _by_bisection(normal: Vector, gap: float, low: Vector, high: Vector) -> float:
    def move(multiplier: float) -> Vector:
        return np.clip(multiplier * normal, low, high)

    least, most = 0.0, 1.0
    while normal @ move(most) < gap:
        most *= 2
        if most > 1e12:
            return np.inf
    for _ in range(200):
        middle = (least + most) / 2
        least, most = (middle, most) if normal @ move(middle) < gap else (least, middle)
    return float(np.linalg.norm(move(most)))
