"""The interval of paired differences: covers, tightens where little varies, refuses nonsense."""

from __future__ import annotations

import pytest
import torch

from fgmf.errors import InvalidInput
from fgmf.gradient_masking.paired import paired_interval


def draws(count: int, mean: float, seed: int) -> torch.Tensor:
    """Differences of shares of 16 draws with a given mean."""
    generator = torch.Generator().manual_seed(seed)
    chance = torch.full((2, count), 0.5, dtype=torch.float64)
    chance[0] += mean / 2
    chance[1] -= mean / 2
    shares = torch.stack([torch.bernoulli(chance, generator=generator) for _ in range(16)])
    both = shares.mean(dim=0)
    return both[0] - both[1]


@pytest.mark.parametrize("mean", [0.0, 0.05, 0.2])
def test_it_covers_the_mean(mean: float) -> None:
    """At 90 % a miss on one side is expected in at most 10 of 200 samples; 20 would be 3 sigma."""
    intervals = [paired_interval(draws(60, mean, seed), confidence=0.9) for seed in range(200)]
    assert sum(interval.lower > mean for interval in intervals) < 20
    assert sum(interval.upper < mean for interval in intervals) < 20


def test_it_is_short_where_differences_vary_little() -> None:
    """Hoeffding's bound for 160 differences is 0.43 wide; their deviation here is 0.18."""
    interval = paired_interval(draws(160, 0.15, 0), confidence=0.95)
    assert interval.upper - interval.lower < 0.15
    assert interval.lower > 0.05


def test_it_is_symmetric() -> None:
    values = draws(50, 0.3, 1)
    forth, back = (paired_interval(sign * values, confidence=0.95) for sign in (1, -1))
    # 40 bisections of an interval of length 1, twice.
    assert forth.lower == pytest.approx(-back.upper, abs=1e-9)


@pytest.mark.parametrize("values", [[], [1.5], [float("nan")]])
def test_nonsense_is_refused(values: list[float]) -> None:
    with pytest.raises(InvalidInput, match="each between -1 and 1"):
        paired_interval(torch.tensor(values), confidence=0.95)
