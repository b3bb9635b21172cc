"""PGCA's five stages with the published fusion: two maps in [0, 1], mixed.

    1 perturb   P = minmax(bilinear(relu(mean over the replacements of the drop of each cell)))
    2 attend    G = Grad-CAM++ in [0, 1]
    3 fuse      F = alpha P + (1 - alpha) G;   A = F (1 + lambda P G)
    4 smooth    A = gaussian blur of A
    5 contrast  A = minmax(A clipped to two percentiles)^gamma

Source: arXiv 2412.03884 names the stages; its constants and code are not public, so formulas and
constants are a reconstruction. All maps are (n, h, w).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fgmf.attribution.images import enlarge, gaussian_blur, minmax

if TYPE_CHECKING:
    from collections.abc import Sequence


def perturb(drops: Sequence[torch.Tensor], height: int, width: int) -> torch.Tensor:
    """Stage 1: what the class loses when cells go, as a map in [0, 1].

    Args:
        drops: Of each replacement, (n, grid, grid).
        height: Of the map.
        width: Of the map.

    Returns:
        (n, height, width); zero where no cell counts, never NaN.
    """
    mean = torch.stack(list(drops)).mean(dim=0)
    return minmax(enlarge(mean.relu(), height, width))


def fuse(
    perturbation: torch.Tensor, attention: torch.Tensor, *, balance: float, gain: float
) -> torch.Tensor:
    """Stage 3: mix both maps, and amplify where they agree.

    Args:
        perturbation: P in [0, 1].
        attention: G in [0, 1].
        balance: alpha, the share of P.
        gain: lambda.
    """
    mixed = balance * perturbation + (1 - balance) * attention
    return mixed * (1 + gain * perturbation * attention)


def smooth(maps: torch.Tensor, *, deviation: float) -> torch.Tensor:
    """Stage 4: blur by `deviation` pixels."""
    return gaussian_blur(maps, deviation)


def contrast(maps: torch.Tensor, *, low: float, high: float, gamma: float) -> torch.Tensor:
    """Stage 5: clip each map to two of its percentiles, bring it to [0, 1], and bend it.

    Args:
        maps: (n, h, w).
        low: Lower percentile, in [0, 100].
        high: Upper percentile.
        gamma: Exponent.
    """
    flat = maps.flatten(1)
    ends = torch.tensor([low / 100, high / 100], dtype=maps.dtype, device=maps.device)
    least, most = flat.quantile(ends, dim=1)
    clipped = flat.clamp(least[:, None], most[:, None]).reshape(maps.shape)
    return minmax(clipped).pow(gamma)
