"""Objectives beside those of `fgmf.training`, for honest networks of other kinds.

smoothed    CE against (1 - a) onehot + a uniform
noisy       CE at x + Gaussian noise
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy

from fgmf.training import Schedule

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class SmoothedRecipe:
    """Cross-entropy on clean images with smoothed labels."""

    amount: float = 0.1
    bounds: tuple[float, float] = (0.0, 1.0)
    schedule: Schedule = field(default_factory=Schedule)
    passes = (1, 1)

    def loss(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        *,
        progress: float,
        draws: torch.Generator,
    ) -> torch.Tensor:
        return cross_entropy(model(images), labels, label_smoothing=self.amount)


@dataclass(frozen=True, kw_only=True)
class NoisyRecipe:
    """Cross-entropy on images with Gaussian noise."""

    deviation: float = 0.15
    bounds: tuple[float, float] = (0.0, 1.0)
    schedule: Schedule = field(default_factory=Schedule)
    passes = (1, 1)

    def loss(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        *,
        progress: float,
        draws: torch.Generator,
    ) -> torch.Tensor:
        noise = torch.randn(images.shape, generator=draws)
        return cross_entropy(model((images + self.deviation * noise).clamp(*self.bounds)), labels)
