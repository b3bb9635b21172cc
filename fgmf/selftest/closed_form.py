"""Linear models: the distance of an image to the decision is known, with a box or without.

    to j:  a = w_j - w_y,  gap = z_y - z_j,  room_i = how far value i can go along sign(a_i)
    Linf:  smallest t      with sum |a_i| min(t, room_i)             = gap
    L2  :  |u|, u_i = min(s |a_i|, room_i), smallest s with a . u    = gap
    L1  :  values of largest |a_i| first, each as far as it can go
    distance = least over j; without a box it is gap / dual norm of a

Source: Lagrange conditions of a linear constraint in a box; the L2 form is that of a continuous
knapsack (Brucker 1984).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fgmf.types import Bounds, Images, Labels, Norm

    Vector = NDArray[np.float64]

_SHAPE = (1, 8, 8)
_HALVINGS = 60
_AT_THE_EDGE = 0.3
"""Share of the values that lie on the bounds, where the box matters."""


@dataclass(frozen=True, kw_only=True)
class LinearProblem:
    """A linear model and images that all lie at one distance from its decision.

    Attributes:
        module: Flattens and applies one linear layer.
        images: (n, 1, 8, 8) float32.
        labels: (n,) the classes that the model gives them.
        bounds: Box of valid images.
        norm: Of the distance.
        distances: (n,) exact distances, equal but for the rounding of the images.
    """

    module: nn.Module
    images: Images
    labels: Labels
    bounds: Bounds
    norm: Norm
    distances: torch.Tensor


def linear_problem(
    norm: Norm, *, boxed: bool, count: int = 16, classes: int = 4, seed: int = 0
) -> LinearProblem:
    """Make a linear model and images at one distance.

    Args:
        norm: Of the distance.
        boxed: Many values lie on the bounds; else the bounds are out of reach.
        count: Images.
        classes: Rows of logits.
        seed: Fixes weights and images.

    Returns:
        The problem; each image lies on the segment between one that is misclassified and one
        that is farther away than asked.

    Randomness: `seed`.
    """
    generator = np.random.default_rng([seed, boxed, len(norm)])
    size = int(np.prod(_SHAPE))
    weights = generator.standard_normal((classes, size)).astype(np.float32).astype(np.float64)
    bounds: Bounds = (0.0, 1.0) if boxed else (-100.0, 100.0)
    bias = -weights.sum(axis=1) / 2 if boxed else np.zeros(classes)
    bias = bias.astype(np.float32).astype(np.float64)
    pool = generator.random((40 * count, size))
    if boxed:
        at_edge = generator.random(pool.shape) < _AT_THE_EDGE
        pool = np.where(at_edge, pool.round(), pool)
    logits = pool @ weights.T + bias
    labels = logits.argmax(axis=1)
    away = np.array(
        [
            smallest_distance(weights, bias, image, int(label), norm, bounds)
            for image, label in zip(pool, labels, strict=True)
        ]
    )
    asked = float(np.median(away)) / 2
    far = np.flatnonzero(away > asked)[:count]
    images = []
    for at in far:
        label = int(labels[at])
        other = pool[np.flatnonzero(labels != label)[0]]
        near, end = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (near + end) / 2
            point = other + middle * (pool[at] - other)
            outside = smallest_distance(weights, bias, point, label, norm, bounds) < asked
            near, end = (middle, end) if outside else (near, middle)
        images.append((other + end * (pool[at] - other)).astype(np.float32))
    exact = [
        smallest_distance(weights, bias, image.astype(np.float64), int(label), norm, bounds)
        for image, label in zip(images, labels[far], strict=True)
    ]
    return LinearProblem(
        module=_module(weights, bias),
        images=torch.from_numpy(np.stack(images)).reshape(-1, *_SHAPE),
        labels=torch.from_numpy(labels[far]),
        bounds=bounds,
        norm=norm,
        distances=torch.tensor(exact, dtype=torch.float64),
    )


def smallest_distance(
    weights: Vector, bias: Vector, image: Vector, label: int, norm: Norm, bounds: Bounds
) -> float:
    """Return how far an image lies from where another class is on top.

    Args:
        weights: (classes, d).
        bias: (classes,).
        image: (d,) inside the bounds.
        label: Class that is to be left.
        norm: Of the distance.
        bounds: Box of valid images.

    Returns:
        The exact distance in float64; 0 if the class is not on top, infinite if no image in the
        box has another class.
    """
    logits = weights @ image + bias
    measures = {"linf": _linf, "l2": _l2, "l1": _l1}
    least = np.inf
    for other in range(len(bias)):
        if other == label:
            continue
        gap = float(logits[label] - logits[other])
        if gap <= 0:
            return 0.0
        slope = weights[other] - weights[label]
        room = np.where(slope > 0, bounds[1] - image, image - bounds[0])
        least = min(least, measures[norm](np.abs(slope), room, gap))
    return float(least)


def _linf(slope: Vector, room: Vector, gap: float) -> float:
    order = room.argsort()
    slope, room = slope[order], room[order]
    rest = slope.sum() - slope.cumsum()
    reached = (slope * room).cumsum() + room * rest
    at = int(np.searchsorted(reached, gap))
    if at == len(room):
        return float("inf")
    before = float((slope[:at] * room[:at]).sum())
    return (gap - before) / float(slope[at:].sum())


def _l2(slope: Vector, room: Vector, gap: float) -> float:
    turn = room / np.maximum(slope, 1e-300)
    order = turn.argsort()
    slope, room, turn = slope[order], room[order], turn[order]
    squares = slope**2
    reached = (slope * room).cumsum() + turn * (squares.sum() - squares.cumsum())
    at = int(np.searchsorted(reached, gap))
    if at == len(room):
        return float("inf")
    step = (gap - float((slope[:at] * room[:at]).sum())) / float(squares[at:].sum())
    return float(np.linalg.norm(np.minimum(step * slope, room)))


def _l1(slope: Vector, room: Vector, gap: float) -> float:
    order = (-slope).argsort()
    slope, room = slope[order], room[order]
    reached = (slope * room).cumsum()
    at = int(np.searchsorted(reached, gap))
    if at == len(room):
        return float("inf")
    before = float(reached[at - 1]) if at else 0.0
    return float(room[:at].sum()) + (gap - before) / float(slope[at])


def _module(weights: Vector, bias: Vector) -> nn.Module:
    linear = nn.utils.skip_init(nn.Linear, weights.shape[1], weights.shape[0])
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(weights))
        linear.bias.copy_(torch.from_numpy(bias))
    return nn.Sequential(nn.Flatten(), linear).eval()
