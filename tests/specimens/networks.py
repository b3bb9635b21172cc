"""Small networks for 8 x 8 digits, in plain torch: what specimens are made of.

Every builder gives the same first weights each time; all map images (n, c, 8, 8) to logits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "leaky": nn.LeakyReLU,
    "elu": nn.ELU,
}


def conv_net(
    *,
    channels: int = 1,
    classes: int = 10,
    widths: tuple[int, int] = (12, 24),
    hidden: int = 48,
    act: str | Callable[[], nn.Module] = "relu",
    norm: bool = False,
    dropout: float = 0.0,
    pool: str = "max",
    seed: int = 0,
) -> nn.Sequential:
    """Two convolutions with pooling, two linear layers."""
    make = ACTIVATIONS[act] if isinstance(act, str) else act
    pooling = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}[pool]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        before = channels
        for width in widths:
            layers.append(nn.Conv2d(before, width, 3, padding=1))
            layers += [nn.BatchNorm2d(width)] if norm else []
            layers += [make(), pooling(2)]
            layers += [nn.Dropout(dropout)] if dropout else []
            before = width
        layers += [nn.Flatten(), nn.Linear(before * 4, hidden), make()]
        layers += [nn.Dropout(dropout)] if dropout else []
        return nn.Sequential(*layers, nn.Linear(hidden, classes))


def pooled_net(*, seed: int = 0) -> nn.Sequential:
    """One pooling after the other, down to one pixel: little of the image is left."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 24, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(24, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 48, 1),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(48, 10),
        )


def multilayer(
    *widths: int, act: str = "relu", inputs: int = 64, classes: int = 10, seed: int = 0
) -> nn.Sequential:
    """Linear layers on flattened images; without widths a linear model."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Flatten()]
        before = inputs
        for width in widths:
            layers += [nn.Linear(before, width), ACTIVATIONS[act]()]
            before = width
        return nn.Sequential(*layers, nn.Linear(before, classes))


class Residual(nn.Module):
    """Convolutions with a way around them."""

    def __init__(self, *, width: int = 16, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.stem = nn.Conv2d(1, width, 3, padding=1)
            self.blocks = nn.ModuleList(
                nn.Sequential(
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                    nn.Conv2d(width, width, 3, padding=1),
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                    nn.Conv2d(width, width, 3, padding=1),
                )
                for _ in range(2)
            )
            self.head = nn.Linear(width * 4, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = self.stem(images)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        pooled = nn.functional.adaptive_avg_pool2d(hidden.relu(), 2)
        logits: torch.Tensor = self.head(pooled.flatten(1))
        return logits
