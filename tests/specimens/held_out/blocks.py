"""Gradients cut on the way: detached, without a graph, through numpy, or in part."""

from __future__ import annotations

import torch
from torch import nn


class Detached(nn.Module):
    """Values without their history."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values.detach()


class WithoutGraph(nn.Module):
    """A part of a network that records nothing."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            hidden: torch.Tensor = self.part(values)
        return hidden


class ThroughNumpy(nn.Module):
    """A gamma correction by another library."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        array = images.detach().cpu().numpy()
        return torch.from_numpy(array**0.9).to(images)


class PartlyDetached(nn.Module):
    """Most channels without their history."""

    def __init__(self, kept: int) -> None:
        super().__init__()
        self.kept = kept

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.cat([values[:, : self.kept], values[:, self.kept :].detach()], dim=1)
