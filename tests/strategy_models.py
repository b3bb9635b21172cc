"""Models of which is known how little breaks them."""

from __future__ import annotations

import math

import torch
from torch import nn

SIDE = 17


class BrightnessModel(nn.Module):
    """Class 1 where the mean of an image lies above `threshold`."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        over = images.double().mean(dim=(1, 2, 3)) - self.threshold
        return torch.stack([torch.zeros_like(over), over], dim=1)


class AngleModel(nn.Module):
    """Class 1 where the long axis of a blob lies more than `degrees` off the horizontal.

    The angle is that of the principal axis, from the second moments about the centre.
    """

    def __init__(self, degrees: float) -> None:
        super().__init__()
        self.degrees = degrees

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tones = images.double().mean(dim=1)
        along = torch.arange(tones.shape[-1], dtype=torch.float64) - (tones.shape[-1] - 1) / 2
        y, x = along.reshape(1, -1, 1), along.reshape(1, 1, -1)
        crossed = 2 * (tones * x * y).sum(dim=(1, 2))
        spread = (tones * (x * x - y * y)).sum(dim=(1, 2))
        angle = 0.5 * torch.atan2(crossed, spread).abs() * 180 / math.pi
        return torch.stack([torch.full_like(angle, self.degrees), angle], dim=1)


def blob() -> torch.Tensor:
    """A long smooth blob, horizontal: (1, 1, 17, 17)."""
    along = torch.arange(SIDE, dtype=torch.float64) - (SIDE - 1) / 2
    y, x = along.reshape(-1, 1), along.reshape(1, -1)
    return torch.exp(-(x**2) / 12 - y**2 / 3).float().reshape(1, 1, SIDE, SIDE)
