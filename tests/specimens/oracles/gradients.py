"""Projected gradient ascent under Linf, by hand.

    start: a random point of the ball
    g = mean over draws of d loss / dx            # each at x + noise, where asked
    x = project(x + step sign(g))                 # the step falls as a cosine, or stays

A gradient that is missing is zero, one that is not finite is zero where it is not: that is what
an attack without care takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from fgmf.threat import ThreatModel

    Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Climb:
    """How to climb.

    Attributes:
        steps: Gradient steps.
        step: Length of the first over epsilon.
        falling: Shorten steps as a cosine.
        random_start: From a random point, else from the image.
        draws: Gradients to average.
        spread: Deviation of noise on the images for each of them.
        seed: Of all draws.
    """

    steps: int = 40
    step: float = 0.1
    falling: bool = False
    random_start: bool = True
    draws: int = 1
    spread: float = 0.0
    seed: int = 0


def cross_entropy_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Summed, as every library has it."""
    return cross_entropy(logits, labels, reduction="sum")


def margin_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Best other logit less that of the label."""
    own = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -math.inf)
    return (others.amax(dim=1) - own).sum()


def towards(rank: int, clean: torch.Tensor) -> Loss:
    """Margin to the class that is `rank`-th best on the clean image, the label not counted."""

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        order = clean.scatter(1, labels[:, None], -math.inf).argsort(dim=1, descending=True)
        goal = logits.gather(1, order[:, rank, None])[:, 0]
        return (goal - logits.gather(1, labels[:, None])[:, 0]).sum()

    return loss


def gradient_of(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, loss: Loss
) -> torch.Tensor:
    """Gradient with respect to the images, as an attack without care sees it."""
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    at = images.detach().clone().requires_grad_()
    with torch.enable_grad():
        value = loss(model(at.to(dtype)), labels)
        if not value.requires_grad:
            return torch.zeros_like(images)
        (gradient,) = torch.autograd.grad(value, at, allow_unused=True)
    if gradient is None:
        return torch.zeros_like(images)
    return gradient.nan_to_num(nan=0.0, posinf=1e30, neginf=-1e30)


def climb(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    threat: ThreatModel,
    how: Climb,
    loss: Loss = cross_entropy_loss,
) -> torch.Tensor:
    """Return where the climb ends, in the ball and the box."""
    epsilon = threat.epsilon
    lower = (images - epsilon).clamp(*threat.bounds)
    upper = (images + epsilon).clamp(*threat.bounds)
    draws = torch.Generator().manual_seed(how.seed)
    point = images.clone()
    if how.random_start:
        noise = torch.rand(images.shape, generator=draws) * 2 - 1
        point = (images + epsilon * noise).clamp(lower, upper)
    for number in range(how.steps):
        gradient = torch.zeros_like(images)
        for _ in range(how.draws):
            seen = point
            if how.spread:
                seen = point + how.spread * torch.randn(images.shape, generator=draws)
            gradient += gradient_of(model, seen, labels, loss)
        length = how.step * epsilon
        if how.falling:
            length *= 0.5 * (1 + math.cos(math.pi * number / how.steps))
        point = (point + length * gradient.sign()).clamp(lower, upper).detach()
    return point
