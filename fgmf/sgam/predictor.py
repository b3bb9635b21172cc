"""The light attention network that predicts where a model's saliency will be, on a coarse grid.

means, variances = of each channel in each of g x g cells, images centred by their bounds
tokens   = silu(conv 3x3(means, variances)) + positions                  (n, g*g, width)
tokens   = tokens + softmax(q k' / sqrt(width)) v                        one head
saliency = sigmoid(linear(tokens))                                       (n, 1, g, g)

Every step is smooth and written out in plain products, so that it has second derivatives on every
device, without a choice of attention kernel.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import torch
from torch import nn

from fgmf.sgam.upsampling import cell_means

if TYPE_CHECKING:
    from fgmf.types import Bounds, Images

_POSITION_DEVIATION: Final = 0.02
_FIRST_LOGIT: Final = -2.0
"""The mask starts close to 1: wrapped around a trained model it changes little at first."""


class SaliencyPredictor(nn.Module):
    """Images to coarse saliency logits, in one pass.

    Args:
        channels: Of the images.
        grid_side: Cells per side.
        width: Length of a token.
        bounds: Range of the pixels.
    """

    def __init__(self, *, channels: int, grid_side: int, width: int, bounds: Bounds) -> None:
        super().__init__()
        self.grid_side = grid_side
        self._middle = (bounds[0] + bounds[1]) / 2
        self._half_range = (bounds[1] - bounds[0]) / 2
        self.stem = nn.Conv2d(2 * channels, width, 3, padding=1)
        self.positions = nn.Parameter(_POSITION_DEVIATION * torch.randn(1, grid_side**2, width))
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.read_out = nn.Linear(width, 1)
        with torch.no_grad():
            self.read_out.bias.fill_(_FIRST_LOGIT)

    def forward(self, images: Images) -> torch.Tensor:
        """Images (n, c, h, w) within the bounds to logits (n, 1, g, g) of saliency."""
        side = self.grid_side
        centred = (images - self._middle) / self._half_range
        means = cell_means(centred, (side, side))
        variances = cell_means(centred.square(), (side, side)) - means.square()
        tokens = nn.functional.silu(self.stem(torch.cat([means, variances], dim=1)))
        tokens = tokens.flatten(2).transpose(1, 2) + self.positions
        queries, keys, values = self.queries_keys_values(tokens).chunk(3, dim=2)
        weights = (queries @ keys.transpose(1, 2) / math.sqrt(keys.shape[2])).softmax(dim=2)
        logits: torch.Tensor = self.read_out(tokens + weights @ values)
        return logits.transpose(1, 2).reshape(-1, 1, side, side)
