"""PGCA's five stages with the consensus fusion: evidence of cells and of gradients, made to agree.

    1 perturb   P_k = mean over the replacements of the drop of cell k, signed
    2 attend    Q = (x - blur of x) * ((1 - q) mean gradient under noise + q the same on the way)
                G = Grad-CAM++ in [0, 1]
    3 agree     A_i = Q_i + beta (P_k - sum of Q over cell k) w_i            for pixel i of cell k
                w_i = (|Q_i| + phi mean |Q|) / sum of the same over the cell
    4 smooth    A = gaussian blur of A, deviation = clip(tau std(x) / rms(slope of x), low, high)
    5 contrast  A = A (1 + lambda minmax(relu P) G);   shown: sign(A) |A|^gamma

P knows what happens when a region is gone, and is coarse; Q is as fine as the pixels, and local.
Both are in units of the score, so they can be compared: where the pixels of a cell do not add up
to what the cell is worth, the share beta of the difference is handed to the pixels, most to those
that the gradient already speaks of.

Source: stages by name from arXiv 2412.03884, whose constants and code are not public; formulas
and constants are a reconstruction that was chosen by measurement (docs/explanations.md). All maps
are (n, h, w), all cells (n, grid, grid).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fgmf.attribution.images import (
    cell_numbers,
    gaussian_blur,
    image_slope,
    mean_and_deviation,
    minmax,
)
from fgmf.attribution.occlusion import over_cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.types import Images


_ROUNDING = 1e-12
"""A pixel that differs from its surround by less of the largest one does not differ."""


def perturb(drops: Sequence[torch.Tensor]) -> torch.Tensor:
    """Stage 1: the mean drop of each cell over the replacements, signed.

    Args:
        drops: Of each replacement, (n, grid, grid).

    Returns:
        (n, grid, grid).
    """
    return torch.stack(list(drops)).mean(dim=0)


def attend(
    images: Images,
    around: torch.Tensor,
    along: torch.Tensor,
    *,
    path_share: float,
    surround: float,
) -> torch.Tensor:
    """Stage 2: the evidence of gradients.

    Args:
        images: (n, c, h, w).
        around: Mean gradient under noise, of the same shape.
        along: Mean gradient on the way from noise to the image.
        path_share: q, the share of the latter. Around the image says what counts now, along the
            way what counted until the image was there.
        surround: Deviation of the blur that says what a pixel's surround is, as a share of the
            longer side.

    Returns:
        (n, h, w): what a pixel does that its surround would not, times what it is worth.
    """
    less = images - gaussian_blur(images, surround * max(images.shape[-2:]))
    largest = images.abs().amax(dim=(1, 2, 3), keepdim=True)
    less = torch.where(less.abs() > _ROUNDING * largest, less, 0.0)
    slope = (1 - path_share) * around + path_share * along
    return (less * slope).sum(dim=1)


def agree(
    evidence: torch.Tensor, cells: torch.Tensor, *, share: float, floor: float
) -> torch.Tensor:
    """Stage 3: hand a share of each cell's disagreement to its pixels.

    Args:
        evidence: Q, (n, h, w).
        cells: P, (n, grid, grid).
        share: beta in [0, 1]: 0 keeps Q, 1 makes every cell worth exactly P.
        floor: phi, the weight of pixels that Q is silent about, against the mean of |Q|.

    Returns:
        (n, h, w).
    """
    n, height, width = evidence.shape
    number = cell_numbers(height, width, cells.shape[1]).flatten().expand(n, -1)
    flat = evidence.flatten(1)
    sums = torch.zeros_like(cells.flatten(1))
    missing = cells.flatten(1) - sums.scatter_add(1, number, flat)
    weight = flat.abs() + floor * flat.abs().mean(dim=1, keepdim=True)
    weight = torch.where(weight.sum(dim=1, keepdim=True) > 0, weight, 1.0)  # no evidence at all
    total = sums.scatter_add(1, number, weight)
    quotient = missing / total.where(total > 0, 1.0)
    return (flat + share * quotient.gather(1, number) * weight).reshape(n, height, width)


def smooth(
    maps: torch.Tensor, images: Images, *, scale: float, least: float, most: float
) -> torch.Tensor:
    """Stage 4: blur by a deviation that fits the grain of the image.

    Args:
        maps: (n, h, w).
        images: (n, c, h, w).
        scale: tau; std(x) / rms(slope) is the length in pixels over which the image changes.
        least: Smallest deviation in pixels.
        most: Largest deviation in pixels.

    Returns:
        (n, h, w). A constant image has no grain, and gets the largest deviation.
    """
    slope = image_slope(images)
    _, deviation = mean_and_deviation(images)
    grain = deviation.flatten() / slope.where(slope > 0, 1.0)
    wanted = torch.where(slope > 0, (scale * grain).clamp(least, most), most)
    return gaussian_blur(maps, wanted.to(maps))


def amplify(
    maps: torch.Tensor, cells: torch.Tensor, attention: torch.Tensor, *, gain: float
) -> torch.Tensor:
    """Stage 5, first half: raise what both perturbation and Grad-CAM++ speak for.

    Args:
        maps: (n, h, w).
        cells: P, (n, grid, grid).
        attention: G in [0, 1], (n, h, w).
        gain: lambda.

    Returns:
        (n, h, w).
    """
    strong = minmax(over_cells(cells.relu(), maps.shape[1], maps.shape[2]))
    return maps * (1 + gain * strong * attention.to(maps))


def contrast(maps: torch.Tensor, *, gamma: float) -> torch.Tensor:
    """Stage 5, second half, for the eye: sign(A) |A|^gamma, which changes no rank."""
    return maps.sign() * maps.abs().pow(gamma)


def disagreement(evidence: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    """Return how far gradients and cells are apart, relative to the cells: (n,).

    Root mean square of P less the cell's sum of Q, over that of P; 0 where P is zero.
    """
    number = (
        cell_numbers(evidence.shape[1], evidence.shape[2], cells.shape[1])
        .flatten()
        .expand(len(cells), -1)
    )
    worth = cells.flatten(1)
    gap = worth - torch.zeros_like(worth).scatter_add(1, number, evidence.flatten(1))
    size = worth.norm(dim=1)
    return torch.where(size > 0, gap.norm(dim=1) / size.where(size > 0, 1.0), 0.0)
