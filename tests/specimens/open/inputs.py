"""What is done to images: rounding, block transforms, masks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, pad

if TYPE_CHECKING:
    from collections.abc import Callable


class Rounded(nn.Module):
    """Images in few grey levels."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images * (self.levels - 1)).round() / (self.levels - 1)


class Thermometer(nn.Module):
    """Each pixel as the levels that it reaches; with `slope` a soft step (for the twin).

    Source: Buckman et al. (2018).
    """

    def __init__(self, levels: int = 10, *, slope: float | None = None) -> None:
        super().__init__()
        self.levels, self.slope = levels, slope
        self.register_buffer("steps", (torch.arange(levels) + 0.5) / levels)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        above = images[:, :, None] - self.steps[None, None, :, None, None]
        if self.slope is None:
            coded = (above >= 0).to(images.dtype)
        else:
            coded = torch.sigmoid(self.slope * above)
        return coded.flatten(1, 2)


class BlockTransform(nn.Module):
    """Discrete cosine transform of 4 x 4 or 8 x 8 blocks, coefficients rounded, and back."""

    def __init__(self, side: int, step: float) -> None:
        super().__init__()
        self.side, self.step = side, step
        at = torch.arange(side, dtype=torch.float32)
        matrix = torch.cos(math.pi / side * (at[None] + 0.5) * at[:, None]) * math.sqrt(2 / side)
        matrix[0] /= math.sqrt(2)
        self.register_buffer("matrix", matrix)
        # Coarser for higher frequencies, as JPEG's tables are.
        self.register_buffer("table", step * (1 + (at[:, None] + at[None]) / 2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        count, channels, height, width = images.shape
        side = self.side
        blocks = images.reshape(count, channels, height // side, side, width // side, side)
        blocks = blocks.permute(0, 1, 2, 4, 3, 5)
        coefficients = self.matrix @ blocks @ self.matrix.T
        kept = (coefficients / self.table).round() * self.table
        back = (self.matrix.T @ kept @ self.matrix).permute(0, 1, 2, 4, 3, 5)
        return back.reshape(images.shape).clamp(0, 1)


def ink(images: torch.Tensor) -> torch.Tensor:
    """Saliency (n, 1, h, w) between 0 and 1: where it is brighter than around, or bright."""
    around = avg_pool2d(pad(images.mean(dim=1, keepdim=True), (1, 1, 1, 1)), 3, stride=1)
    return torch.sigmoid(12 * (0.5 * images.mean(dim=1, keepdim=True) + 0.5 * around - 0.25))


class Masked(nn.Module):
    """A saliency mask in front: images times `of_mask(saliency)`, or the mask alone."""

    def __init__(
        self,
        of_mask: Callable[[torch.Tensor], torch.Tensor],
        *,
        alone: bool = False,
        rounded_after: int | None = None,
    ) -> None:
        super().__init__()
        self.of_mask, self.alone, self.rounded_after = of_mask, alone, rounded_after

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        saliency_mask = self.of_mask(ink(images))
        if self.alone:
            return saliency_mask.expand_as(images)
        product = images * saliency_mask
        if self.rounded_after is None:
            return product
        return (product * self.rounded_after).round() / self.rounded_after
