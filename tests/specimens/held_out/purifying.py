"""Images are cleaned before they are read: loops, code books, an inner optimisation."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import fold, unfold


class Smoothing(nn.Module):
    """Minimises |x' - x|^2 + weight TV(x') by gradient steps inside the forward pass.

    The loop records no graph for what surrounds it.
    """

    def __init__(self, *, weight: float = 0.02, steps: int = 10) -> None:
        super().__init__()
        self.weight, self.steps = weight, steps

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        start = images.detach()
        clean = start.clone()
        for _ in range(self.steps):
            with torch.enable_grad():
                clean.requires_grad_()
                across = (clean[..., 1:] - clean[..., :-1]).abs().sum()
                down = (clean[..., 1:, :] - clean[..., :-1, :]).abs().sum()
                energy = ((clean - start) ** 2).sum() + self.weight * (across + down)
                (slope,) = torch.autograd.grad(energy, clean)
            clean = (clean - 0.2 * slope).detach()
        return clean.clamp(0, 1)


class CodeBook(nn.Module):
    """Each 2 x 2 patch becomes the nearest of known patches."""

    def __init__(self, known: torch.Tensor, *, size: int = 256) -> None:
        super().__init__()
        patches = unfold(known, 2, stride=2).transpose(1, 2).reshape(-1, 4)
        draws = torch.Generator().manual_seed(6)
        chosen = torch.randperm(len(patches), generator=draws)[:size]
        self.register_buffer("book", patches[chosen].clone())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = unfold(images, 2, stride=2).transpose(1, 2)
        nearest = torch.cdist(patches, self.book.expand(len(images), -1, -1)).argmin(dim=2)
        return fold(self.book[nearest].transpose(1, 2), images.shape[-2:], 2, stride=2)


class Settling(nn.Module):
    """Pixels settle on the nearest of some levels in many small differentiable steps."""

    def __init__(self, *, levels: int = 12, steps: int = 60) -> None:
        super().__init__()
        self.levels, self.steps = levels, steps

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        turn = 2 * math.pi * self.levels
        settled = images
        for _ in range(self.steps):
            settled = settled - 0.9 * torch.sin(turn * settled) / turn
        return settled


class StraightPast(nn.Module):
    """For the twin: the purified image forward, the identity backward (BPDA)."""

    def __init__(self, purifier: nn.Module) -> None:
        super().__init__()
        self.purifier = purifier

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images + (self.purifier(images.detach()) - images).detach()
