"""What one batch says of catastrophic overfitting, measured on a plain module.

g = input gradient at x;  x1 = clip(x + eps sign g);  g' = input gradient at the perturbed images
gap = accuracy(x1) - accuracy(PGD)         d = 1/3 eps sign g + 2/3 eps sign g(x1)  (Frank-Wolfe)
alignment = mean cos(g, g')                distortion = mean |d|2 / (eps sqrt D)
curvature = mean |g(x + h u) - g(x)| / (h |g(x)|), u = sign g / sqrt D, h = eps sqrt D
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cosine_similarity

from fgmf.curvature import ImageLoss, InputCurvature
from fgmf.seeding import isolated_randomness
from fgmf.verdict import Cost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from fgmf.threat import ThreatModel
    from fgmf.types import Images, Labels


@dataclass(frozen=True, kw_only=True)
class CollapseSignals:
    """Values of one batch; NaN where the model gave none.

    Attributes:
        gap: Accuracy under one full step less that under PGD.
        iterative_accuracy: Under PGD.
        alignment: Mean cosine of the input gradients at clean and at perturbed images.
        distortion: Of a Frank-Wolfe attack of two steps, 1 at the corner of the ball.
        curvature: Relative change of the input gradient along its own sign, per unit of length.
        image_count: Images.
        cost: Passes per image times images.
    """

    gap: float
    iterative_accuracy: float
    alignment: float
    distortion: float
    curvature: float
    image_count: int
    cost: Cost


def measure_signals(
    model: nn.Module,
    images: Images,
    labels: Labels,
    threat: ThreatModel,
    *,
    perturbed_gradient: Images | None = None,
    steps: int = 10,
) -> CollapseSignals:
    """Measure one batch in evaluation mode; the model comes back as it was.

    Args:
        model: Maps images (n, c, h, w) to logits (n, classes).
        images: (n, c, h, w) within the bounds, at least one.
        labels: (n,).
        threat: Linf, epsilon above 0.
        perturbed_gradient: (n, c, h, w), g' that the update's backward gave; else that at x1.
        steps: Of PGD, each of eps / 4, from the clean images.

    Cost: steps + 5 forward and steps + 3 backward passes per image.
    Randomness: none of its own; global generators are put back.
    Source: FW distortion as in FW-AT-Adapt, steps 1 and 2/3 from the clean image.
    """
    started, count = time.perf_counter(), len(images)
    epsilon = threat.epsilon
    with _left_alone(model), isolated_randomness(0):
        labels = labels.to(torch.int64)
        loss = ImageLoss(model=model, labels=labels)
        size = epsilon * images[0].numel() ** 0.5
        curve = InputCurvature(loss, images, mode="finite-difference", step=size)
        clean = curve.gradient
        one_step = _step(images, images, clean, epsilon, threat)
        at_corner = InputCurvature(loss, one_step).gradient
        mixed = (clean.sign() + 2 * at_corner.sign()) / 3
        change = curve.product(clean.sign() / images[0].numel() ** 0.5)
        attacked = images
        for _ in range(steps):
            gradient = InputCurvature(loss, attacked).gradient
            attacked = _step(images, attacked, gradient, epsilon / 4, threat)
        other = at_corner if perturbed_gradient is None else perturbed_gradient
        single, iterative = (_accuracy(model, x, labels) for x in (one_step, attacked))
    return CollapseSignals(
        gap=single - iterative,
        iterative_accuracy=iterative,
        alignment=_mean(cosine_similarity(clean.flatten(1), other.flatten(1), eps=1e-30)),
        distortion=_mean(mixed.flatten(1).square().mean(1).sqrt()),
        curvature=_mean(change.flatten(1).norm(dim=1) / clean.flatten(1).norm(dim=1)),
        image_count=count,
        cost=Cost(
            forward_passes=(steps + 5) * count,
            backward_passes=(steps + 3) * count,
            seconds=time.perf_counter() - started,
        ),
    )


def _step(
    centre: Images, images: Images, gradient: Images, size: float, threat: ThreatModel
) -> Images:
    moved = images + size * gradient.sign()
    moved = moved.clamp(centre - threat.epsilon, centre + threat.epsilon)
    return moved.clamp(*threat.bounds)


def _accuracy(model: nn.Module, images: Images, labels: Labels) -> float:
    with torch.no_grad():
        logits = model(images)
    if not bool(torch.isfinite(logits).all()):
        return float("nan")
    return float((logits.argmax(dim=1) == labels).double().mean())


def _mean(values: torch.Tensor) -> float:
    return float(values.double().mean())


@contextmanager
def _left_alone(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; modes and buffers as before outside, whatever happens."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        with torch.no_grad():
            for buffer, kept in buffers:
                buffer.copy_(kept)
