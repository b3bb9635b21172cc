"""What the peers' rules attack with, in plain torch; every pass is counted.

walk      FGSM and PGD with cross-entropy, with the loss and the answer at every step
noise     uniform points of the ball
search    Square with few queries (`tests/specimens/oracles/searching`)
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy

if TYPE_CHECKING:
    from torch import nn

    from fgmf.types import Bounds


class Watched:
    """A copy of a model that counts passes over images.

    Attributes:
        passes: Forward and backward, each image once.
        unavailable: Whether a gradient was asked for that there is none of.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = copy.deepcopy(model).eval()
        self.passes = 0
        self.unavailable = False

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (n, classes), float64."""
        self.passes += len(images)
        with torch.no_grad():
            logits: torch.Tensor = self.model(images).double()
        return logits

    def parameters(self) -> list[torch.Tensor]:
        return list(self.model.parameters())

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        return self(images).argmax(dim=1)

    def ask(
        self, images: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Losses (n,), answers (n,), gradients: zero where there is none."""
        at = images.detach().clone().requires_grad_()
        with torch.enable_grad():
            logits = self.model(at)
            losses = cross_entropy(logits, labels, reduction="none")
            self.passes += 2 * len(images)
            try:
                (gradient,) = torch.autograd.grad(losses.sum(), at, allow_unused=True)
            except RuntimeError:
                gradient = None
        if gradient is None or not bool(torch.isfinite(gradient).all()):
            self.unavailable = True
        gradient = torch.zeros_like(at) if gradient is None else gradient.nan_to_num()
        return losses.detach().double(), logits.detach().argmax(dim=1), gradient


@dataclass(frozen=True, kw_only=True)
class Walked:
    """An attack's way.

    Attributes:
        end: Last point of each image.
        losses: (steps + 1, n) along the way.
        fooled: (steps + 1, n) whether the answer was not the label.
        first_gradient: At the start.
    """

    end: torch.Tensor
    losses: torch.Tensor
    fooled: torch.Tensor
    first_gradient: torch.Tensor

    @property
    def broken(self) -> torch.Tensor:
        """(n,) whether the last point fools."""
        return self.fooled[-1]


def walk(  # noqa: PLR0913 - what an attack is given
    model: Watched,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    epsilon: float,
    bounds: Bounds,
    steps: int = 40,
    step: float | None = None,
    random_start: bool = True,
    seed: int = 0,
) -> Walked:
    """Climb the cross-entropy under Linf; `step` is over epsilon, a tenth if not given."""
    lower, upper = (images - epsilon).clamp(*bounds), (images + epsilon).clamp(*bounds)
    point = images.clone()
    if random_start:
        draws = torch.Generator().manual_seed(seed)
        noise = 2 * torch.rand(images.shape, generator=draws) - 1
        point = (images + epsilon * noise).clamp(lower, upper)
    length = epsilon * (0.1 if step is None else step)
    losses, fooled, first = [], [], None
    for _ in range(steps):
        loss, answer, gradient = model.ask(point, labels)
        first = gradient if first is None else first
        losses.append(loss)
        fooled.append(answer != labels)
        point = (point + length * gradient.sign()).clamp(lower, upper)
    logits = model(point)
    losses.append(cross_entropy(logits, labels, reduction="none"))
    fooled.append(logits.argmax(dim=1) != labels)
    return Walked(
        end=point,
        losses=torch.stack(losses),
        fooled=torch.stack(fooled),
        first_gradient=torch.zeros_like(images) if first is None else first,
    )


def noise_breaks(  # noqa: PLR0913 - as above
    model: Watched,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    epsilon: float,
    bounds: Bounds,
    draws: int,
    seed: int = 0,
) -> torch.Tensor:
    """(n,) whether a uniform point of the ball fools."""
    generator = torch.Generator().manual_seed(seed)
    broken = torch.zeros(len(images), dtype=torch.bool)
    for _ in range(draws):
        noise = 2 * torch.rand(images.shape, generator=generator) - 1
        broken |= model.predict((images + epsilon * noise).clamp(*bounds)) != labels
    return broken
