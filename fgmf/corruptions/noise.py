"""Noise: every image has its own draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fgmf.types import Images


def gaussian_noise(
    unit: Images, deviation: float, generators: Sequence[np.random.Generator]
) -> Images:
    """Add normal noise.

    Args:
        unit: (n, c, h, w) float64 in [0, 1].
        deviation: Standard deviation.
        generators: One for each image.

    Returns:
        (n, c, h, w), before it is cut to [0, 1].
    """
    return unit + _drawn(unit, generators, lambda draw, image: draw.normal(0.0, deviation, image))


def shot_noise(unit: Images, photons: float, generators: Sequence[np.random.Generator]) -> Images:
    """Count photons: a Poisson number with the pixel's expectation, divided by `photons`.

    Args:
        unit: (n, c, h, w) float64 in [0, 1].
        photons: Expected number at 1.
        generators: One for each image.

    Returns:
        (n, c, h, w), before it is cut to [0, 1].
    """
    counted = [
        torch.from_numpy(generator.poisson(image.numpy() * photons).astype(np.float64))
        for generator, image in zip(generators, unit, strict=True)
    ]
    return torch.stack(counted) / photons


def impulse_noise(unit: Images, share: float, generators: Sequence[np.random.Generator]) -> Images:
    """Replace values by 0 or 1, each with half of the probability `share`.

    Args:
        unit: (n, c, h, w) float64 in [0, 1].
        share: Probability that a value of one channel is replaced.
        generators: One for each image.

    Returns:
        (n, c, h, w).
    """
    drawn = _drawn(unit, generators, lambda draw, image: draw.random(image))
    pepper, salt = drawn < share / 2, drawn >= 1 - share / 2
    return unit.masked_fill(pepper, 0.0).masked_fill(salt, 1.0)


def _drawn(
    unit: Images,
    generators: Sequence[np.random.Generator],
    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray],
) -> Images:
    shape = tuple(unit.shape[1:])
    return torch.stack([torch.from_numpy(draw(generator, shape)) for generator in generators])
