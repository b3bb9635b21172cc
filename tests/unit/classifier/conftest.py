"""Tiny ONNX files, exported once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from tiny_models import LinearModel, make_images
from tiny_onnx import export
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class TwoOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = LinearModel()

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        logits = self.linear(images)
        return logits, logits.softmax(dim=1), logits.mean()


class TwoInputs(nn.Module):
    def forward(self, images: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return (images + other).flatten(1)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Path of an exported model: linear, fixed (batch of 3), two-outputs, two-inputs, double."""
    folder = tmp_path_factory.mktemp("onnx")
    images = make_images(3)
    made = {
        "linear": lambda p: export(LinearModel(), p, images, names=["z"], fixed=False),
        "fixed": lambda p: export(LinearModel(), p, images, names=["z"], fixed=True),
        "two-outputs": lambda p: export(
            TwoOutputs(), p, images, names=["z", "probabilities", "mean"], fixed=False
        ),
        "two-inputs": lambda p: export(TwoInputs(), p, images, images, names=["z"], fixed=False),
        "double": lambda p: export(
            LinearModel().double(), p, images.double(), names=["z"], fixed=False
        ),
    }

    def path_of(name: str) -> Path:
        path = folder / f"{name}.onnx"
        return path if path.exists() else made[name](path)

    return path_of
