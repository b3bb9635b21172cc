"""What is drawn anew in every forward pass."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import dropout, interpolate, pad


class NoisyInput(nn.Module):
    """Gaussian noise on the images."""

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images + self.deviation * torch.randn_like(images)


class Dithered(nn.Module):
    """Few grey levels, rounded up or down at random, right on average."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scaled = images * (self.levels - 1)
        return (scaled + torch.rand_like(images)).floor() / (self.levels - 1)


class Dropped(nn.Module):
    """Dropout that stays on, on pixels or hidden values."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return dropout(values, self.share, training=True)


class RandomResize(nn.Module):
    """Each batch at a random size, at a random place on a ground of zeros, and back to its side.

    Source: Xie et al. (2018), "Mitigating adversarial effects through randomization".
    """

    def __init__(self, smallest: float, *, mode: str = "bilinear") -> None:
        super().__init__()
        self.smallest, self.mode = smallest, mode

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        side = images.shape[-1]
        large = 4 * side
        least = round(self.smallest * large)
        size = int(torch.randint(least, large + 1, (1,)))
        left, top = (int(torch.randint(0, large - size + 1, (1,))) for _ in range(2))
        small = interpolate(images, size=(size, size), mode=self.mode)
        room = large - size
        placed = pad(small, (left, room - left, top, room - top))
        return nn.functional.adaptive_avg_pool2d(placed, side)


class RandomRipple(nn.Module):
    """Logits plus small fast waves whose phase is drawn anew: gradients that average to the truth.

    Decisions hardly change; one gradient is almost all wave.
    """

    def __init__(self, network: nn.Module, *, pixels: int, height: float, frequency: float) -> None:
        super().__init__()
        self.network, self.height, self.frequency = network, height, frequency
        draws = torch.Generator().manual_seed(5)
        self.register_buffer("ways", torch.randn(pixels, 10, generator=draws))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        phases = 2 * math.pi * torch.rand(len(images), 1, device=images.device)
        waves = torch.sin(self.frequency * (images.flatten(1) @ self.ways) + phases)
        logits: torch.Tensor = self.network(images) + self.height * waves
        return logits
