"""Brightness and contrast."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fgmf.types import Images


def brightness(unit: Images, added: float) -> Images:
    """Add a constant to every value.

    Args:
        unit: (n, c, h, w) float64 in [0, 1].
        added: The constant.

    Returns:
        (n, c, h, w), before it is cut to [0, 1].
    """
    return unit + added


def contrast(unit: Images, factor: float) -> Images:
    """Pull every value towards the mean of its image and channel.

    Args:
        unit: (n, c, h, w) float64 in [0, 1].
        factor: Of the distance from the mean that is left.

    Returns:
        (n, c, h, w).
    """
    mean = unit.mean(dim=(-2, -1), keepdim=True)
    return mean + (unit - mean) * factor
