"""k winners take all: of the values of a layer the k largest stay, the others become zero.

Source: Xiao, Zhong, Zheng (2020).
"""

from __future__ import annotations

import torch
from torch import nn


class Winners(nn.Module):
    """Keeps a share of the values of each image in a layer."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        flat = values.flatten(1)
        count = max(1, round(self.share * flat.shape[1]))
        least = flat.topk(count, dim=1).values[:, -1:]
        return torch.where(flat >= least, flat, 0.0).reshape(values.shape)
