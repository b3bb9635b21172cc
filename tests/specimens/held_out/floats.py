"""Numbers too small, too large, or too steep for a gradient."""

from __future__ import annotations

import torch
from torch import nn


class Gamma(nn.Module):
    """A gamma correction and its inverse: the slope at black is infinite times zero."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.pow(0.4).pow(2.5)


class WideLogits(nn.Module):
    """Logits times a number near the largest of float32, and back: small gradients underflow."""

    def __init__(self, network: nn.Module, *, scale: float, louder: float) -> None:
        super().__init__()
        self.network, self.scale, self.louder = network, scale, louder

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (self.network(images) * self.scale) / self.scale * self.louder


class HalfLogits(nn.Module):
    """Logits that pass through half precision, scaled so that nothing overflows forward."""

    def __init__(self, network: nn.Module, *, scale: float, louder: float) -> None:
        super().__init__()
        self.network, self.scale, self.louder = network, scale, louder

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        small = (self.network(images) * self.scale).half()
        return small.float() * (self.louder / self.scale)


class Steep(nn.Module):
    """Sigmoids of a large factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.factor * values)
