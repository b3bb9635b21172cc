"""Small problems for the tests of both optimizers that know the curvature."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.scorpio import CurvatureOptimizer

X = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
Y = X[:, :3].argmax(dim=1)


def point(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def net() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 3))


def run(
    optimizer: CurvatureOptimizer, loss_of: Callable[[], torch.Tensor], steps: int
) -> list[float]:
    """Train; the losses before each step."""
    losses = []
    for _ in range(steps):
        if optimizer.due():
            optimizer.update_curvature(loss_of)
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses
