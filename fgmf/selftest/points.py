"""Random points of a threat's ball: all over it, and as far out as it goes.

    inside     Linf: each value by itself    L2, L1: uniform in the ball of that norm
    corners    Linf: +-eps in every value    L2: a random direction, all of eps
               L1: eps shared by few values, each at most half of the range
    cut to the box and rounded inwards

Corners look to the side of a value where there is room, so that little of eps is cut off.
Source: Zimmermann et al. 2022 for points inside (Linf) and at the edge; the mixture of both, and
what a corner is in L2 and L1, are ours [R]: the share of eps that random points use must not give
the edge away, or random search would find it too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from fgmf.attacks.projection import project

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fgmf.threat import ThreatModel
    from fgmf.types import Images

    Steps = NDArray[np.float64]


def ball_points(
    image: Images,
    threat: ThreatModel,
    *,
    count: int,
    generator: np.random.Generator,
    share: float = 1.0,
) -> Images:
    """Draw points around one image: every other one anywhere in the ball, the rest at corners.

    Args:
        image: (...) the centre, inside the bounds.
        threat: Ball and box.
        count: How many.
        generator: Draws them.
        share: Radius of the ball as a share of epsilon.

    Returns:
        (count, ...) on the CPU, of the image's type; the first is a corner.

    Randomness: `generator`.
    """
    radius, inner_count = threat.epsilon * share, count // 2
    corners = _corners(image, threat, radius, count - inner_count, generator)
    inside = _inside(image, threat, radius, inner_count, generator)
    steps = np.empty((count, image.numel()))
    steps[::2], steps[1::2] = corners, inside
    return _placed(image, steps, threat)


def _inside(
    image: Images, threat: ThreatModel, radius: float, count: int, generator: np.random.Generator
) -> Steps:
    size = image.numel()
    if threat.norm == "linf":
        return generator.uniform(-radius, radius, (count, size))
    steps: Steps = _directions(threat, count, size, generator) * radius
    return steps * generator.random((count, 1)) ** (1 / size)


def _corners(
    image: Images, threat: ThreatModel, radius: float, count: int, generator: np.random.Generator
) -> Steps:
    size = image.numel()
    values = image.detach().cpu().double().flatten().numpy()
    if threat.norm == "l2":
        return _directions(threat, count, size, generator) * radius
    if threat.norm == "linf":
        signs = np.where(generator.random((count, size)) < 0.5, -1.0, 1.0)
        return radius * _with_room(values, signs, threat)
    lower, upper = threat.bounds
    few = min(size, max(1, math.ceil(2 * radius / (upper - lower))))
    chosen = generator.random((count, size)).argsort(axis=1)[:, :few]
    steps = np.zeros((count, size))
    roomy = np.where(values < (lower + upper) / 2, 1.0, -1.0)
    np.put_along_axis(steps, chosen, roomy[chosen] * radius / few, axis=1)
    return steps


def _directions(
    threat: ThreatModel, count: int, size: int, generator: np.random.Generator
) -> Steps:
    """Uniform on the unit sphere of L2 or L1."""
    if threat.norm == "l2":
        normal = generator.standard_normal((count, size))
        unit: Steps = normal / np.linalg.norm(normal, axis=1, keepdims=True)
        return unit
    sizes = generator.standard_exponential((count, size))
    signs = np.where(generator.random((count, size)) < 0.5, -1.0, 1.0)
    steps: Steps = signs * sizes / sizes.sum(axis=1, keepdims=True)
    return steps


def _with_room(values: Steps, signs: Steps, threat: ThreatModel) -> Steps:
    """Turn a sign round where the other side has more room, and this one too little."""
    lower, upper = threat.bounds
    ahead = np.where(signs > 0, upper - values, values - lower)
    turned = (ahead < threat.epsilon) & (ahead < (upper - lower) / 2)
    return np.where(turned, -signs, signs)


def _placed(image: Images, steps: Steps, threat: ThreatModel) -> Images:
    clean = image.detach().cpu()
    moved = clean.double() + torch.from_numpy(steps).reshape(-1, *clean.shape)
    return project(clean.expand_as(moved).contiguous(), moved.to(clean.dtype), threat)
