"""Small models trained once on real digits, and one way to ask for findings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from fgmf.classifier import Classifier
from fgmf.datasets import Samples, digits
from fgmf.preflight import inspect
from fgmf.threat import ThreatModel
from fgmf.verdict import Finding

EPSILON = 0.15


def plain_layers() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )


def noisy_layers() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(256, 10),
    )


def train(model: nn.Module, data: Samples, *, epochs: int = 12, epsilon: float = 0.0) -> nn.Module:
    """Fit a classifier; with `epsilon`, on the images that a few PGD steps make of its batches."""
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(data), generator=generator).split(64):
            images, labels = data.images[batch], data.labels[batch]
            images = perturbed(model, images, labels, epsilon) if epsilon else images
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimiser.step()
    return model.eval()


def perturbed(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, epsilon: float
) -> torch.Tensor:
    moved = images.clone()
    for _ in range(4):
        moved.requires_grad_()
        loss = nn.functional.cross_entropy(model(moved), labels)
        (gradient,) = torch.autograd.grad(loss, moved)
        moved = moved.detach() + epsilon / 2 * gradient.sign()
        moved = torch.clamp(moved, images - epsilon, images + epsilon).clamp(0, 1)
    return moved.detach()


def trained(layers: Callable[[], nn.Module], **options: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.set_num_threads(1)
        return train(layers(), digits("train"), **options)


@pytest.fixture(scope="session")
def test_set() -> Samples:
    return digits("test")


@pytest.fixture(scope="session")
def standard() -> nn.Module:
    return trained(plain_layers)


@pytest.fixture(scope="session")
def robust() -> nn.Module:
    return trained(plain_layers, epochs=8, epsilon=EPSILON)


@pytest.fixture(scope="session")
def with_batch_norm() -> nn.Module:
    return trained(noisy_layers)


Ask = Callable[..., dict[str, Finding]]


@pytest.fixture(scope="session")
def ask() -> Ask:
    """Findings by name, of a model in the standard setting: Linf 0.15 on [0, 1]."""

    def findings(
        model: Any,
        data: Samples,
        *,
        bounds: tuple[float, float] = (0, 1),
        epsilon: float = EPSILON,
        norm: str = "linf",
        normalize: Any = None,
        output: Any = None,
        **options: Any,
    ) -> dict[str, Finding]:
        classifier = Classifier(
            model, bounds=bounds, normalize=normalize, output=output, device="cpu"
        )
        threat = ThreatModel(norm=norm, epsilon=epsilon, bounds=bounds)  # type: ignore[arg-type]
        found = inspect(classifier, data, threat=threat, **options)
        return {finding.name: finding for finding in found}

    return findings
