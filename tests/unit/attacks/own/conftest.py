"""Doubles and tasks for the tests of our own attacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from fgmf.attacks.criteria import Criterion
from fgmf.attacks.own.task import AttackTask
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.types import Norm


class Linear:
    """A linear model on (n, 1, 3, 4) images; float64."""

    def __init__(self, seed: int, classes: int = 4, values: int = 12) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.weights = torch.randn(classes, values, generator=generator, dtype=torch.float64)
        self.bias = 0.3 * torch.randn(classes, generator=generator, dtype=torch.float64)
        self.rows = 0

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.rows += images.shape[0]
        flat = images.double().flatten(1)
        return (flat @ self.weights.T + self.bias).to(images.dtype)


@pytest.fixture
def linear() -> Linear:
    """A linear model of four classes."""
    return Linear(3)


@pytest.fixture
def make_linear() -> type[Linear]:
    """The class."""
    return Linear


@pytest.fixture
def make_task() -> Callable[..., AttackTask]:
    """A function from images and labels to a task."""

    def make(
        images: torch.Tensor,
        labels: torch.Tensor,
        norm: Norm = "linf",
        epsilon: float = 0.1,
        **changes: Any,
    ) -> AttackTask:
        values: dict[str, Any] = {
            "images": images,
            "criterion": Criterion(kind="misclassification", labels=labels),
            "threat": ThreatModel(norm=norm, epsilon=epsilon),
            "keys": tuple(str(at) for at in range(len(images))),
        }
        return AttackTask(**(values | changes))

    return make


@pytest.fixture
def box_images() -> torch.Tensor:
    """40 images (1, 3, 4) in [0, 1], a third of whose values lie on the box."""
    generator = torch.Generator().manual_seed(11)
    values = torch.rand(40, 1, 3, 4, generator=generator) * 1.5 - 0.25
    return values.clamp(0, 1)
