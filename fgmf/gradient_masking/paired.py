"""An interval for the mean of paired differences of shares, each between -1 and 1.

    y_i = (d_i + 1) / 2, in a shuffled order that is always the same
    capital against "the mean is at most m":   K(m) = product over i of 1 + l_i (y_i - m)
    l_i = sqrt(2 log(1 / a) / (n v_{i-1})), at most 3/4 / m; v_{i-1} the variance so far
    lower bound: the largest m with K(m) >= 1 / a, by bisection; the upper one likewise for 1 - y

A fair game multiplies no capital by 1/a with a probability above a, whatever the distribution, so
the interval covers with at least the confidence, for any number of images; and it adapts to the
variance, which is small where most images stay as they are.

Source: Waudby-Smith and Ramdas (2024), "Estimating means of bounded random variables by betting",
the fixed-n bets. Cost: some 40 products over the images.
"""

from __future__ import annotations

import math
from typing import Final

import torch

from fgmf.errors import InvalidInput
from fgmf.verdict import Interval

_CAP: Final = 0.75
_BISECTIONS: Final = 40


def paired_interval(differences: torch.Tensor, *, confidence: float) -> Interval:
    """Bound the mean of differences.

    Args:
        differences: (n,) each between -1 and 1, at least one.
        confidence: Coverage asked for; each side may miss half of the rest.

    Raises:
        InvalidInput: None, or values outside [-1, 1].
    """
    values = differences.double().flatten()
    if not len(values) or not bool(((values >= -1) & (values <= 1)).all()):
        raise InvalidInput("expected at least one difference, each between -1 and 1")
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))
    shares = (values[order] + 1) / 2
    miss = (1 - confidence) / 2
    return Interval(
        lower=2 * _lower(shares, miss) - 1,
        upper=1 - 2 * _lower(1 - shares, miss),
        confidence=confidence,
        method="betting",
    )


def _lower(shares: torch.Tensor, miss: float) -> float:
    count = len(shares)
    seen = torch.arange(count, dtype=torch.float64)
    before = torch.cat([torch.zeros(1, dtype=torch.float64), shares.cumsum(0)[:-1]])
    means = (before + 0.5) / (seen + 1)
    spread = (shares - means).square().cumsum(0)
    variance = torch.cat([torch.full((1,), 0.25, dtype=torch.float64), (spread[:-1] + 0.25)])
    variance = variance / (seen + 1)
    bets = (2 * math.log(1 / miss) / (count * variance.clamp_min(1e-12))).sqrt()
    low, high = 0.0, float(shares.mean())
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        stake = bets.clamp_max(_CAP / max(middle, 1e-12))
        capital = float(torch.log1p(stake * (shares - middle)).sum())
        low, high = (middle, high) if capital >= math.log(1 / miss) else (low, middle)
    return low
