"""Blur: sums of shifted images, the same whatever the batch is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from fgmf.types import Images

_TRUNCATE = 4.0
"""The Gaussian kernel ends at so many deviations."""


def gaussian_blur(unit: Images, deviation: float) -> Images:
    """Blur with a Gaussian, edge pixels repeated beyond the border.

    Args:
        unit: (n, c, h, w) float64 in [0, 1].
        deviation: Of the kernel, in pixels.

    Returns:
        (n, c, h, w).

    Cost: two passes over the images for each of the 8 deviations of the kernel's width.
    """
    radius = int(_TRUNCATE * deviation + 0.5)
    weights = [math.exp(-0.5 * (at / deviation) ** 2) for at in range(-radius, radius + 1)]
    offsets = range(-radius, radius + 1)
    rows = _weighted(unit, weights, [(at, 0) for at in offsets])
    return _weighted(rows, weights, [(0, at) for at in offsets])


def motion_blur(
    unit: Images, radius: float, deviation: float, generators: Sequence[np.random.Generator]
) -> Images:
    """Smear along a line, as a camera does that moves: half a Gaussian kernel.

    Args:
        unit: (n, c, h, w) float64 in [0, 1].
        radius: The kernel has 2 * radius + 1 pixels.
        deviation: Of the Gaussian, in pixels.
        generators: One for each image; draws the angle, within 45 degrees of the horizontal.

    Returns:
        (n, c, h, w); edge pixels are repeated beyond the border.
    """
    steps = range(2 * int(radius) + 1)
    weights = [math.exp(-0.5 * (at / deviation) ** 2) for at in steps]
    blurred = []
    for image, generator in zip(unit, generators, strict=True):
        angle = math.radians(generator.uniform(-45.0, 45.0))
        line = [(round(at * math.sin(angle)), round(at * math.cos(angle))) for at in steps]
        blurred.append(_weighted(image[None], weights, line)[0])
    return torch.stack(blurred)


def _weighted(unit: Images, weights: Sequence[float], offsets: Sequence[tuple[int, int]]) -> Images:
    """Mean of shifted images; a pixel beyond the border has the value of the nearest one."""
    height, width = unit.shape[-2:]
    total = torch.zeros_like(unit)
    for weight, (down, right) in zip(weights, offsets, strict=True):
        rows = (torch.arange(height) - down).clamp(0, height - 1)
        columns = (torch.arange(width) - right).clamp(0, width - 1)
        total = total + unit[..., rows, :][..., columns] * weight
    return total / math.fsum(weights)
