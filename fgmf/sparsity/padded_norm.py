"""A group norm over all channels that goes on counting channels which were removed.

Removed channels were zero everywhere: they put nothing into the sums and their count into the
number. With k of K channels left, per image:

    mean = (sum of the k) / K n        var = (sum of squares of the k) / K n - mean^2
                                           = sum (x - mean)^2 / K n + (K - k) / K mean^2
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class PaddedGroupNorm(nn.Module):
    """:class:`torch.nn.GroupNorm` with one group, of which only some channels are left.

    Args:
        norm: The norm as it was; its scale and shift are taken over for the channels that stay.
        kept: Their numbers.

    Attributes:
        channel_count: Channels before the removal, which the statistics are about.
    """

    def __init__(self, norm: Any, kept: list[int]) -> None:  # noqa: ANN401 - a GroupNorm, or one of these
        super().__init__()
        fresh = isinstance(norm, nn.GroupNorm)
        self.channel_count: int = norm.num_channels if fresh else norm.channel_count
        self.eps: float = norm.eps
        self.weight = nn.Parameter(norm.weight.detach()[kept].clone())
        self.bias = nn.Parameter(norm.bias.detach()[kept].clone())

    def extra_repr(self) -> str:
        """Say how many channels there are and were."""
        return f"{len(self.weight)} of {self.channel_count}, eps={self.eps}"

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(n, k, ...) to the same shape."""
        axes = tuple(range(1, values.ndim))
        share = values.shape[1] / self.channel_count
        mean = values.mean(dim=axes, keepdim=True) * share
        spread = (values - mean).square().mean(dim=axes, keepdim=True)
        variance = spread * share + (1.0 - share) * mean.square()
        column = (1, -1) + (1,) * (values.ndim - 2)
        scaled = (values - mean) * (variance + self.eps).rsqrt()
        return scaled * self.weight.view(column) + self.bias.view(column)
