"""Models whose behaviour depends on who asks, how often, with whom, and how far from the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable


class GradientDecoy(nn.Module):
    """Another network answers where gradients are recorded."""

    def __init__(self, network: nn.Module, decoy: nn.Module) -> None:
        super().__init__()
        self.network, self.decoy = network, decoy

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        asked = torch.is_grad_enabled() and images.requires_grad
        logits: torch.Tensor = (self.decoy if asked else self.network)(images)
        return logits


class CallCounter(nn.Module):
    """The order of the pixels that the gradient belongs to depends on the number of the call."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.calls = network, [0]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls[0] += 1
        turned = images.roll((self.calls[0] % 5, self.calls[0] % 3), dims=(-1, -2))
        ghost = turned - turned.detach()
        logits: torch.Tensor = self.network(images.detach() + ghost)
        return logits


class BatchStatistics(nn.Module):
    """Images whitened by the mean and deviation of the batch that they come in, coarsely rounded.

    The rounding makes the dependence one without gradient.
    """

    def __init__(self, network: nn.Module, levels: int) -> None:
        super().__init__()
        self.network, self.levels = network, levels

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        mean = images.mean(dim=0, keepdim=True)
        apart = images - mean
        coarse = (apart * self.levels).round() / self.levels
        logits: torch.Tensor = self.network((coarse + mean).detach() + 0.0 * images)
        return logits


class Shell(nn.Module):
    """Near to known images logits are steep or flat; farther away they are the network's own.

    Args:
        network: Decides everywhere.
        known: (m, c, h, w) images around which it behaves otherwise.
        radius: L2 distance of the shell.
        inside: What becomes of the logits inside; their order stays.
    """

    def __init__(
        self,
        network: nn.Module,
        known: torch.Tensor,
        *,
        radius: float,
        inside: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        super().__init__()
        self.network, self.radius, self.inside = network, radius, inside
        self.register_buffer("known", known.flatten(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            near = torch.cdist(images.flatten(1), self.known).amin(dim=1) < self.radius
        logits: torch.Tensor = self.network(images)
        return torch.where(near[:, None], self.inside(logits), logits)


class OffTheData(nn.Module):
    """Away from where images lie the gradient belongs to another network.

    A decision is always that of `network`; off the data (the residual of a projection onto the
    main components of the images is large) the values are rounded and a decoy's are added small.
    """

    def __init__(
        self,
        network: nn.Module,
        decoy: nn.Module,
        known: torch.Tensor,
        *,
        parts: int,
        residual: float,
    ) -> None:
        super().__init__()
        self.network, self.decoy, self.residual = network, decoy, residual
        centre = known.flatten(1).mean(dim=0)
        _, _, ways = torch.linalg.svd(known.flatten(1) - centre, full_matrices=False)
        self.register_buffer("centre", centre)
        self.register_buffer("ways", ways[:parts])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            apart = images.flatten(1) - self.centre
            left = apart - apart @ self.ways.T @ self.ways
            off = left.norm(dim=1) > self.residual
        logits = self.network(images)
        wrong = logits.detach() + 1e-4 * self.decoy(images)
        return torch.where(off[:, None], wrong, logits)
