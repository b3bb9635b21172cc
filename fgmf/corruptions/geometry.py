"""Rotation, translation and scale; what comes in from outside is black (the lower bound)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from fgmf.types import Images


def rotation(unit: Images, degrees: float, generators: Sequence[np.random.Generator]) -> Images:
    """Turn each image about its centre, by `degrees` one way or the other.

    Args:
        unit: (n, c, h, w) float64 in [0, 1].
        degrees: Angle.
        generators: One for each image; draws the direction.

    Returns:
        (n, c, h, w), bilinear.
    """
    turns = [math.radians(degrees * _sign(generator)) for generator in generators]
    return turned(unit, turns)


def turned(unit: Images, radians: Sequence[float]) -> Images:
    """Turn each image about its centre; positive angles go against the clock.

    Args:
        unit: (n, c, h, w) float64 in [0, 1].
        radians: n angles.

    Returns:
        (n, c, h, w), bilinear.
    """
    maps = [
        (math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle)) for angle in radians
    ]
    return _resampled(unit, torch.tensor(maps, dtype=unit.dtype))


def scale(unit: Images, factor: float) -> Images:
    """Make each image smaller about its centre.

    Args:
        unit: (n, c, h, w) float64 in [0, 1].
        factor: Of each side.

    Returns:
        (n, c, h, w), bilinear.
    """
    one = torch.tensor([1 / factor, 0.0, 0.0, 1 / factor], dtype=unit.dtype)
    return _resampled(unit, one.expand(len(unit), 4))


def translation(unit: Images, share: float, generators: Sequence[np.random.Generator]) -> Images:
    """Move each image along both axes, by the nearest whole number of pixels and at least one.

    Args:
        unit: (n, c, h, w) float64 in [0, 1].
        share: Of each side.
        generators: One for each image; draws up or down, left or right.

    Returns:
        (n, c, h, w).
    """
    down, right = (max(1, round(share * side)) for side in unit.shape[-2:])
    pairs = zip(unit, generators, strict=True)
    return torch.stack([shifted(i, down * _sign(g), right * _sign(g)) for i, g in pairs])


def shifted(image: Images, down: int, right: int) -> Images:
    """Move one image by whole pixels.

    Args:
        image: (c, h, w).
        down: Rows; negative goes up.
        right: Columns; negative goes left.

    Returns:
        (c, h, w), zero where nothing was.
    """
    height, width = image.shape[-2:]
    moved = torch.zeros_like(image)
    target, source = _overlap(height, down)
    target_columns, source_columns = _overlap(width, right)
    moved[:, target, target_columns] = image[:, source, source_columns]
    return moved


def _overlap(size: int, by: int) -> tuple[slice, slice]:
    """Where the kept part goes, and where it comes from."""
    kept = max(0, size - abs(by))
    to, start = (size - kept, 0) if by > 0 else (0, size - kept)
    return slice(to, to + kept), slice(start, start + kept)


def _sign(generator: np.random.Generator) -> int:
    return 1 if generator.random() < 0.5 else -1


def _resampled(unit: Images, maps: torch.Tensor) -> Images:
    """Take pixel (x, y) about the centre from (a x + b y, c x + d y); `maps` is (n, 4)."""
    height, width = unit.shape[-2:]
    y = torch.arange(height, dtype=unit.dtype) - (height - 1) / 2
    x = torch.arange(width, dtype=unit.dtype) - (width - 1) / 2
    a, b, c, d = (maps[:, at].reshape(-1, 1, 1) for at in range(4))
    from_x = a * x[None, None, :] + b * y[None, :, None]
    from_y = c * x[None, None, :] + d * y[None, :, None]
    # grid_sample counts from -1 to 1 between the outer edges of the pixels.
    grid = torch.stack([2 * from_x / width, 2 * from_y / height], dim=-1)
    return torch.nn.functional.grid_sample(
        unit, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )
