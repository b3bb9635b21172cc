"""How sure a measured symptom is, where it is no share of images.

    median        the order statistics x_(k), x_(n+1-k) between which it lies: exact, for any
                  distribution; k the largest with P(Bin(n, 1/2) < k) <= (1 - confidence) / 2
    anything else the statistic of images drawn anew with replacement, 200 times: the middle part

Values that are the largest of all images or a count carry no interval.

Cost: no pass. Randomness: the draws of images are always the same.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import torch

from fgmf.verdict import Interval

if TYPE_CHECKING:
    from collections.abc import Callable

_DRAWS: Final = 200
CONFIDENCE: Final = 0.95


def median_interval(values: torch.Tensor, *, confidence: float = CONFIDENCE) -> Interval | None:
    """Bound the median of what values are drawn from.

    Args:
        values: (n,) finite.
        confidence: Coverage; too few values for it give the whole range that was seen.

    Returns:
        The interval; None of no values.
    """
    count = len(values)
    if not count:
        return None
    ordered = values.double().sort().values
    allowed, below, rank = (1 - confidence) / 2, 0.0, 0
    while rank < count // 2:
        below += math.comb(count, rank) / 2**count
        if below > allowed:
            break
        rank += 1
    place = max(0, rank - 1)
    return Interval(
        lower=float(ordered[place]),
        upper=float(ordered[count - 1 - place]),
        confidence=confidence,
        method="order statistics",
    )


def resampled_interval(
    statistic: Callable[[torch.Tensor], float], count: int, *, confidence: float = CONFIDENCE
) -> Interval | None:
    """Bound a statistic of images by drawing the images anew.

    Args:
        statistic: From (m,) rows of images to a number.
        count: Images.
        confidence: Of the interval, for many images.

    Returns:
        The interval; None of fewer than two images.
    """
    if count < 2:
        return None
    generator = torch.Generator().manual_seed(0)
    drawn = [
        statistic(torch.randint(0, count, (count,), generator=generator)) for _ in range(_DRAWS)
    ]
    tail = (1 - confidence) / 2
    bounds = torch.tensor(drawn, dtype=torch.float64).nan_to_num(nan=0.0)
    lower, upper = bounds.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Interval(lower=lower, upper=upper, confidence=confidence, method="bootstrap of images")
