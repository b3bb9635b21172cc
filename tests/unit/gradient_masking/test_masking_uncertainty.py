"""Intervals of symptoms: the median's covers as often as it says, and none is made up."""

from __future__ import annotations

import math

import torch

from fgmf.gradient_masking.uncertainty import median_interval, resampled_interval


def test_the_median_is_covered_as_often_as_asked_for() -> None:
    generator = torch.Generator().manual_seed(0)
    covered, rounds = 0, 2000
    for _ in range(rounds):
        values = -torch.rand(33, generator=generator).log()  # exponential: median log 2
        interval = median_interval(values)
        assert interval is not None
        covered += interval.lower <= math.log(2) <= interval.upper
    # 33 values: P(Bin(33, .5) < 11) = .018 at either end, so .965; four deviations of 2000 rounds.
    assert abs(covered / rounds - 0.9649) < 4 * math.sqrt(0.965 * 0.035 / rounds)


def test_the_interval_is_made_of_values_that_were_seen() -> None:
    values = torch.arange(64.0)
    interval = median_interval(values)
    assert interval is not None
    # P(Bin(64, .5) <= 23) = .0164, P(Bin(64, .5) <= 24) = .0300: the 24th from either end.
    assert (interval.lower, interval.upper) == (23.0, 40.0)


def test_few_values_give_all_of_them_and_none_gives_none() -> None:
    few = median_interval(torch.tensor([3.0, 1.0]))
    assert few is not None
    assert (few.lower, few.upper) == (1.0, 3.0)
    assert median_interval(torch.zeros(0)) is None
    assert resampled_interval(lambda rows: float(rows.sum()), 1) is None


def test_images_drawn_anew_give_the_spread_of_a_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(400, generator=generator)
    interval = resampled_interval(lambda rows: float(values[rows].mean()), len(values))
    assert interval is not None
    half = (interval.upper - interval.lower) / 2
    # 1.96 / sqrt(400); the quantiles of 200 draws scatter by a tenth of it or so.
    assert abs(half - 0.098) < 0.025
