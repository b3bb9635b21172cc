"""Honest things around a network: what looks unusual and hides nothing."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, log_softmax


class LogSoftmax(nn.Module):
    """Log-probabilities in place of logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return log_softmax(self.network(images), dim=1)


class Average(nn.Module):
    """Mean logits of networks."""

    def __init__(self, *networks: nn.Module) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.stack([network(images) for network in self.networks]).mean(dim=0)


class LoudLogits(nn.Module):
    """Logits times a factor at which gradients still work."""

    def __init__(self, network: nn.Module, *, factor: float) -> None:
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.factor * self.network(images)
        return logits


class Normalised(nn.Module):
    """Whitens images, and a first layer that takes it back."""

    def __init__(self, network: nn.Module, *, mean: float = 0.3, deviation: float = 0.35) -> None:
        super().__init__()
        self.network, self.mean, self.deviation = network, mean, deviation

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        white = (images - self.mean) / self.deviation
        logits: torch.Tensor = self.network(white * self.deviation + self.mean)
        return logits


class _Levels(torch.autograd.Function):
    """Rounds; passes the gradient on as it came."""

    @staticmethod
    def forward(ctx: object, images: torch.Tensor, levels: int) -> torch.Tensor:
        return (images * (levels - 1)).round() / (levels - 1)

    @staticmethod
    def backward(ctx: object, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient, None


class StraightThrough(nn.Module):
    """Quantised images with a gradient that works."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rounded: torch.Tensor = _Levels.apply(images, self.levels)
        return rounded


class Double(nn.Module):
    """Computes in float64, whatever comes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.double()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(images.double())
        return logits


class Upsampled(nn.Module):
    """Bilinear to a larger side, and back by averages."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        large = interpolate(images, size=(self.side, self.side), mode="bilinear")
        return adaptive_avg_pool2d(large, images.shape[-2:])
