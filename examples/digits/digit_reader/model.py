"""The network, and the two trained models of this repository."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"


class DigitReader(nn.Module):
    """Three convolutions and two linear layers, 40 394 parameters."""

    def __init__(self) -> None:
        """Make the layers with torch's default initial weights."""
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classes = nn.Sequential(nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (n, 1, 8, 8) in [0, 1] to logits (n, 10)."""
        logits: torch.Tensor = self.classes(self.features(images))
        return logits


def load_standard() -> DigitReader:
    """Return the model that was trained on clean images only."""
    return load("standard")


def load_robust() -> DigitReader:
    """Return the model that was trained on adversarial images."""
    return load("robust")


def load(name: str) -> DigitReader:
    """Return a trained model.

    Args:
        name: "standard" or "robust".

    Raises:
        FileNotFoundError: It was not trained yet.
    """
    path = WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        message = f"no trained weights at {path}; make them with: python -m digit_reader.train"
        raise FileNotFoundError(message)
    model = DigitReader()
    model.load_state_dict(load_file(path))
    return model.eval()
