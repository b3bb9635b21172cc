"""From a coarse saliency grid to the full saliency mask and back: what a log's reader recomputes.

version 1, along each axis, from g cells to s pixels:
    p = clamp(((2 i + 1) g - s) / (2 s), 0, g - 1)       half-pixel centres, in whole numbers
    up[i] = low + (high - low) * frac(p)                 low, high: the cells below and above p
saliency_mask = clamp(1 - (1 - m_min) * up, m_min, 1)    inverted: salient pixels are dimmed
inverse: images = outputs / saliency_mask

Only gathering and elementwise arithmetic, in the order written: the result is the same to the last
bit for any batch, layout and device that rounds by IEEE 754 (compiled code may fuse a product with
a sum: one unit in the last place).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import torch

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from fgmf.types import Images

UPSAMPLING_VERSION: Final = 1
"""Written beside every grid; a change of the formula is another number, and both stay readable."""

SMALLEST_FLOOR: Final = 0.02
"""Below it, the rounding of a float32 grid could cost more than 1e-5 in the inverse."""


def saliency_mask_of(
    coarse: torch.Tensor,
    size: tuple[int, int],
    m_min: float,
    version: int = UPSAMPLING_VERSION,
) -> torch.Tensor:
    """Recompute the full saliency mask from the coarse grid of saliency.

    Args:
        coarse: (n, 1, g, k), float32 or float64, saliency in [0, 1]; not changed.
        size: Height and width of the images, at least g and k.
        m_min: Floor of the mask, from 0.02 up to, without, 1.
        version: Of the upsampling, as logged.

    Returns:
        (n, 1, height, width) of the same type and device, in [m_min, 1]: 1 where nothing is
        salient, `m_min` where all is. Differentiable in `coarse`, also twice.

    Raises:
        InvalidInput: Another shape, type, size, floor, or a version that is not known.

    Randomness: none.
    Source: reconstruction; the document says only that the mask inverts the predicted map.
    """
    _check(coarse, size, m_min, version)
    rows = _stretched(coarse, size[0], dim=2)
    saliency = _stretched(rows, size[1], dim=3)
    return (1.0 - (1.0 - m_min) * saliency).clamp(m_min, 1.0)


def inverse(
    outputs: Images, coarse: torch.Tensor, m_min: float, version: int = UPSAMPLING_VERSION
) -> Images:
    """Undo the saliency mask: images from masked images and the logged grid.

    Args:
        outputs: (n, c, h, w): images times their saliency mask.
        coarse: (n, 1, g, k), float32 or float64, as offered to the hook.
        m_min: As offered to the hook.
        version: As offered to the hook.

    Returns:
        (n, c, h, w) in the type of `outputs`, within 1e-5 of the images (over the largest pixel
        value) for float32 and float64 outputs. Half-precision outputs have lost more than that
        before they come here.

    Raises:
        InvalidInput: As :func:`saliency_mask_of`; or not as many grids as images.
    """
    if outputs.ndim != 4 or len(outputs) != len(coarse):
        raise InvalidInput(
            f"expected outputs of shape ({len(coarse)}, c, h, w), one for each grid, "
            f"got {tuple(outputs.shape)}"
        )
    height, width = outputs.shape[2:]
    saliency_mask = saliency_mask_of(coarse, (height, width), m_min, version)
    return (outputs / saliency_mask).to(outputs.dtype)


def cell_means(images: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Average over the cells of a grid.

    Args:
        images: (n, c, h, w), floating point.
        grid: Rows and columns of cells, at most h and w. Cell i covers the pixels from
            floor(i h / g) up to, without, floor((i + 1) h / g).

    Returns:
        (n, c, rows, columns) of the same type; differentiable twice.
    """
    rows = _averaging(images, images.shape[2], grid[0])
    columns = _averaging(images, images.shape[3], grid[1])
    return rows @ (images @ columns.T)


def resized(maps: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Bring maps (n, 1, h, w) onto a grid: averaged along an axis that shrinks, else stretched."""
    height, width = maps.shape[2:]
    maps = cell_means(maps, (min(grid[0], height), min(grid[1], width)))
    return _stretched(_stretched(maps, grid[0], dim=2), grid[1], dim=3)


def _stretched(maps: torch.Tensor, size: int, *, dim: int) -> torch.Tensor:
    """Bilinear along one axis, from its cells to `size` pixels."""
    cells = maps.shape[dim]
    positions = (2 * torch.arange(size, device=maps.device) + 1) * cells - size  # over 2 size
    positions = positions.clamp(0, (cells - 1) * 2 * size)
    low = positions // (2 * size)
    share = (positions - low * 2 * size).to(maps.dtype) / (2 * size)
    high = (low + 1).clamp(max=cells - 1)
    shape = [1] * maps.ndim
    shape[dim] = size
    below = maps.index_select(dim, low)
    return below + (maps.index_select(dim, high) - below) * share.view(shape)


def _averaging(images: torch.Tensor, size: int, cells: int) -> torch.Tensor:
    """(cells, size): each row averages the pixels of one cell."""
    pixels = torch.arange(size, device=images.device)
    edges = torch.arange(cells + 1, device=images.device) * size // cells
    inside = (pixels >= edges[:-1, None]) & (pixels < edges[1:, None])
    return inside.to(images.dtype) / (edges[1:] - edges[:-1])[:, None].to(images.dtype)


def _check(coarse: torch.Tensor, size: tuple[int, int], m_min: float, version: int) -> None:
    if coarse.ndim != 4 or coarse.shape[1] != 1 or min(coarse.shape[2:]) < 1:
        raise InvalidInput(f"expected a grid of shape (n, 1, g, g), got {tuple(coarse.shape)}")
    if coarse.dtype not in (torch.float32, torch.float64):
        raise InvalidInput(f"expected a grid of float32 or float64, got {coarse.dtype}")
    if size[0] < coarse.shape[2] or size[1] < coarse.shape[3]:
        raise InvalidInput(
            f"expected images of at least {tuple(coarse.shape[2:])} pixels, as many as the grid "
            f"has cells, got {tuple(size)}; configure a smaller grid_side"
        )
    check_floor(m_min)
    if version != UPSAMPLING_VERSION:
        raise InvalidInput(
            f"expected version {UPSAMPLING_VERSION} of the upsampling, got {version!r}; "
            "read this grid with the release that wrote it, or a later one"
        )


def check_floor(m_min: float) -> None:
    """Refuse a floor of the saliency mask that cannot be inverted, or that dims nothing.

    Raises:
        InvalidInput: Below `SMALLEST_FLOOR`, not below 1, or NaN.
    """
    if not (math.isfinite(m_min) and SMALLEST_FLOOR <= m_min < 1.0):
        raise InvalidInput(f"expected m_min from {SMALLEST_FLOOR} up to, without, 1, got {m_min!r}")
