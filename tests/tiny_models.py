"""Tiny models and images, and one way to measure them: for tests of anything that attacks.

Images are 8x8. `LinearModel` sums row by row, so that its logits do not depend on the batch to
the last bit, and its nearest adversarial examples are known (tests/oracles).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fgmf.attacks.criteria import Criterion
from fgmf.attacks.plans import plan_attacks
from fgmf.canonical import tensor_digest
from fgmf.classifier import Classifier
from fgmf.robustness import RobustnessMeasurement, RobustnessPlan, measure_robustness
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.types import Bounds, Norm

SHAPE = (1, 8, 8)
PIXELS = 64


class LinearModel(nn.Module):
    """``W x + b`` on flattened images, the same to the last bit in any batch."""

    def __init__(
        self, classes: int = 4, *, seed: int = 0, centre: float = 0.5, scale: float = 1.0
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(classes, PIXELS, generator=generator) * scale)
        self.bias = nn.Parameter(-self.weight.detach().sum(dim=1) * centre)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images.flatten(1).unsqueeze(1) * self.weight).sum(dim=-1) + self.bias


class CurvedModel(LinearModel):
    """Two layers of such sums: gradients that differ from point to point."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        other = (images.flatten(1).unsqueeze(1) * self.weight.roll(1, 1)).sum(dim=-1)
        return super().forward(images) + 0.5 * (other + self.bias).tanh()


class ConvModel(nn.Sequential):
    """Convolution, batch norm, dropout: what moves in train mode."""

    def __init__(self, *, channels: int = 1, classes: int = 3) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            super().__init__(
                nn.Conv2d(channels, 4, 3, padding=1),
                nn.BatchNorm2d(4),
                nn.ReLU(),
                nn.Flatten(),
                nn.Dropout(0.5),
                nn.Linear(4 * PIXELS, classes),
            )


def make_images(
    count: int,
    *,
    bounds: Bounds = (0.0, 1.0),
    margin: float = 0.0,
    seed: int = 1,
    shape: tuple[int, ...] = SHAPE,
) -> torch.Tensor:
    """Uniform noise, at least `margin` of the range away from the bounds."""
    lower, upper = bounds
    generator = torch.Generator().manual_seed(seed)
    unit = torch.rand((count, *shape), generator=generator) * (1 - 2 * margin) + margin
    return unit * (upper - lower) + lower


def classify(model: Any, *, bounds: Bounds = (0.0, 1.0), **options: Any) -> Classifier:
    """A classifier on the CPU."""
    return Classifier(model, bounds=bounds, device="cpu", **options)


def keys_of(images: torch.Tensor) -> tuple[str, ...]:
    """The key of each image, as a gate makes it."""
    return tuple(tensor_digest(image) for image in images)


def rule(labels: torch.Tensor, **options: Any) -> Criterion:
    """Misclassification, unless `options` say otherwise."""
    return Criterion(**{"kind": "misclassification", "labels": labels, **options})


def measure(
    classifier: Classifier,
    images: torch.Tensor,
    labels: torch.Tensor | Criterion,
    *,
    attacks: Sequence[Any] = ("pgd",),
    norm: Norm = "linf",
    epsilon: float = 0.1,
    restarts: int = 1,
    seed: int = 0,
    **options: Any,
) -> RobustnessMeasurement:
    """Measure robustness; an attack is a name, or a name with parameters."""
    named = [(a, {}, None) if isinstance(a, str) else (a[0], a[1], None) for a in attacks]
    plan = RobustnessPlan(
        threat=ThreatModel(norm=norm, epsilon=epsilon, bounds=classifier.bounds),
        attacks=plan_attacks(named, restarts=restarts),
        seed=seed,
        **options,
    )
    criterion = labels if isinstance(labels, Criterion) else rule(labels)
    return measure_robustness(classifier, images, criterion, plan, keys=keys_of(images))


def convolved(classes: int = 3, channels: int = 1, side: int = 8) -> nn.Module:
    """A network with a convolution, for explainers that look at its feature maps."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(channels, 4, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(4 * side * side, classes),
        ).eval()
