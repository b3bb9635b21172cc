"""A spiking network: rate-coded pixels, leaky integrate-and-fire units, mean membrane read out.

for t in steps:
    v = leak v + weights . spikes(before) ;  spike = v >= 1 ;  v = v - spike
backward through a spike: 1 / (1 + (width (v - 1))^2)                # a surrogate
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

Coding = Literal["even", "poisson", "current"]


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, above: torch.Tensor, width: float) -> torch.Tensor:
        ctx.save_for_backward(above)
        ctx.width = width
        return (above >= 0).to(above.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (above,) = ctx.saved_tensors
        return gradient / (1 + (ctx.width * above) ** 2), None


class SpikingNet(nn.Module):
    """Two hidden layers of units.

    Args:
        coding: Pixels as evenly spaced spikes, as Poisson spikes, or as a current (the twin).
        width: Of the surrogate: larger is narrower.
        through: Whether coding passes a gradient straight through.
    """

    def __init__(
        self, *, coding: Coding, width: float = 3.0, steps: int = 10, through: bool = False
    ) -> None:
        super().__init__()
        self.coding, self.width, self.steps, self.through = coding, width, steps, through
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(51)
            self.layers = nn.ModuleList([nn.Linear(64, 96), nn.Linear(96, 64), nn.Linear(64, 10)])

    def coded(self, images: torch.Tensor, step: int) -> torch.Tensor:
        """Spikes (n, 64) of one step."""
        if self.coding == "current":
            return images
        if self.coding == "poisson":
            spikes = (torch.rand_like(images) < images).to(images.dtype)
        else:
            spikes = ((step + 1) * images + 0.5).floor() - (step * images + 0.5).floor()
        return spikes + images - images.detach() if self.through else spikes.detach()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        flat = images.flatten(1)
        first, second, out = self.layers
        membranes = [
            torch.zeros(len(flat), n, dtype=flat.dtype, device=flat.device) for n in (96, 64, 10)
        ]
        total = membranes[2]
        for step in range(self.steps):
            spikes = self.coded(flat, step)
            for place, layer in enumerate((first, second)):
                membranes[place] = 0.9 * membranes[place] + layer(spikes)
                spikes = _Spike.apply(membranes[place] - 1, self.width)
                membranes[place] = membranes[place] - spikes
            membranes[2] = 0.9 * membranes[2] + out(spikes)
            total = total + membranes[2]
        return total / self.steps
