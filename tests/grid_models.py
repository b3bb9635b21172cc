"""Models with a layer that lies over the image, for tests of explainers."""

from __future__ import annotations

import torch
from tiny_models import LinearModel
from torch import nn


class Elementwise(nn.Module):
    """Two channels from one, pixel by pixel: the same to the last bit in any batch."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([images * images, (images - 0.5).abs()], dim=1)


class GridModel(LinearModel):
    """A linear model of what a layer over the image puts out."""

    def __init__(self, classes: int = 4, *, seed: int = 0) -> None:
        super().__init__(classes, seed=seed)
        self.grid = Elementwise()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        over = self.grid(images)
        return super().forward(over[:, :1]) + super().forward(over[:, 1:] * 0.3)


class SmallConv(nn.Sequential):
    """Convolutions with pooling, for any size and number of channels."""

    def __init__(
        self, *, channels: int = 1, classes: int = 3, seed: int = 0, inplace: bool = False
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            super().__init__(
                nn.Conv2d(channels, 6, 3, padding=1),
                nn.ReLU(inplace=inplace),
                nn.MaxPool2d(2, ceil_mode=True),
                nn.Conv2d(6, 8, 3, padding=1),
                nn.ReLU(inplace=inplace),
                nn.AdaptiveAvgPool2d(2),
                nn.Flatten(),
                nn.Linear(32, classes),
            )
