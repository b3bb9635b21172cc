"""Random numbers by counting: each lane and step has its own, and nothing is kept between steps.

    number j of step k of a lane with seed s = mix(mix(s + k * A) + j * B), its upper 53 bits

`mix` is the finaliser of SplitMix64 (Steele, Lea & Flood 2014); A and B are odd constants.
Equal on every device, because it is integer arithmetic.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_STEP = _signed(0xD1B54A32D192ED03)
_FIRST = _signed(0xBF58476D1CE4E5B9)
_SECOND = _signed(0x94D049BB133111EB)


def lane_seeds(generators: Sequence[np.random.Generator], device: torch.device) -> torch.Tensor:
    """Draw one (m,) int64 seed per lane, from the lane's own generator."""
    seeds = [int(generator.integers(1 << 62)) for generator in generators]
    return torch.tensor(seeds, dtype=torch.int64, device=device)


def uniform(seeds: torch.Tensor, steps: torch.Tensor, count: int) -> torch.Tensor:
    """Return uniform numbers of each lane's step.

    Args:
        seeds: (m,) int64 of the lanes.
        steps: (m,) int64.
        count: How many numbers.

    Returns:
        (m, count) float64 in [0, 1).

    Randomness: fixed by seed and step of the row.
    """
    keys = _mixed(seeds + (steps + 1) * _STEP)
    places = torch.arange(1, count + 1, device=seeds.device)
    bits = _mixed(keys[:, None] + places * _GOLDEN)
    return _shifted(bits, 11).double() / float(1 << 53)


def normal(seeds: torch.Tensor, steps: torch.Tensor, count: int) -> torch.Tensor:
    """Return (m, count) standard normal numbers, by Box and Muller's transform."""
    pairs = uniform(seeds, steps, 2 * count)
    radius = (-2 * (1 - pairs[:, :count]).log()).sqrt()
    return radius * (2 * math.pi * pairs[:, count:]).cos()


def _mixed(bits: torch.Tensor) -> torch.Tensor:
    bits = (bits ^ _shifted(bits, 30)) * _FIRST
    bits = (bits ^ _shifted(bits, 27)) * _SECOND
    return bits ^ _shifted(bits, 31)


def _shifted(bits: torch.Tensor, places: int) -> torch.Tensor:
    """Shift right and fill with zeros, as for an unsigned number."""
    return (bits >> places) & ((1 << (64 - places)) - 1)
