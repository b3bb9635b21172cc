from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fgmf.errors import InvalidInput
from fgmf.faithfulness.intervals import score_interval, smallest_mean_interval
from fgmf.statistics import binomial_interval, hypergeometric_interval


def skewed(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, size=count)


def test_the_mean_is_covered_as_often_as_promised() -> None:
    hits = 0
    for seed in range(300):
        interval = score_interval(skewed(seed, 40), confidence=0.9, seed=seed)
        hits += interval.lower <= 2.0 <= interval.upper
    # 300 trials at .9: standard error .017; skewed values of 40 images cost a little coverage.
    assert 0.86 <= hits / 300 <= 0.95


def test_of_a_finite_set_intervals_shrink_to_the_mean() -> None:
    values = skewed(1, 60)
    wide = score_interval(values, confidence=0.95, seed=0)
    half = score_interval(values, confidence=0.95, seed=0, population=120)
    point = score_interval(values, confidence=0.95, seed=0, population=60)
    length = wide.upper - wide.lower
    # The finite population factor sqrt(1 - 60 / 120), up to rounding.
    assert half.upper - half.lower == pytest.approx(length * np.sqrt(0.5))
    assert (point.lower, point.upper, point.method) == (values.mean(), values.mean(), "exact mean")


def test_scores_of_zero_and_one_are_shares() -> None:
    values = np.array([1.0] * 12)
    assert score_interval(values, confidence=0.95, seed=0) == binomial_interval(
        12, 12, confidence=0.95
    )
    values[3] = 0.0
    exact = hypergeometric_interval(11, 12, population=30, confidence=0.95)
    assert score_interval(values, confidence=0.95, seed=0, population=30) == exact


def test_the_seed_moves_an_interval_little_and_the_same_one_not_at_all() -> None:
    values = skewed(3, 50)
    first, again, other = (score_interval(values, confidence=0.95, seed=s) for s in (0, 0, 1))
    assert first == again
    assert first != other
    # 4000 resamples fix the ends to a few hundredths of the length.
    length = first.upper - first.lower
    assert abs(first.lower - other.lower) < 0.08 * length
    assert abs(first.upper - other.upper) < 0.08 * length


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(-50, 50), st.floats(0.01, 100))
def test_intervals_move_and_stretch_with_the_scores(
    seed: int, shift: float, stretch: float
) -> None:
    values = skewed(seed, 25)
    plain = score_interval(values, confidence=0.95, seed=7)
    moved = score_interval(stretch * values + shift, confidence=0.95, seed=7)
    # Rounding of sums near `shift`.
    assert moved.lower == pytest.approx(stretch * plain.lower + shift, abs=1e-6)
    assert moved.upper == pytest.approx(stretch * plain.upper + shift, abs=1e-6)
    assert plain.lower <= values.mean() <= plain.upper


def test_values_that_hardly_vary_still_have_an_interval() -> None:
    values = np.full(12, 0.3)
    assert score_interval(values, confidence=0.95, seed=0).method == "one value"
    values[0] = 0.9
    interval = score_interval(values, confidence=0.95, seed=0)
    assert interval.method == "Student's t"  # most resamples of one other value don't vary
    assert interval.lower < values.mean() < interval.upper


def test_few_images_and_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(InvalidInput, match="at least 10 images for an interval, got 9"):
        score_interval(skewed(0, 9), confidence=0.95, seed=0)
    with pytest.raises(InvalidInput, match="finite scores"):
        score_interval(np.array([np.nan] * 20), confidence=0.95, seed=0)
    with pytest.raises(InvalidInput, match="finite scores, got 0"):
        score_interval(np.zeros(0), confidence=0.95, seed=0)
    with pytest.raises(InvalidInput, match="a confidence between 0 and 1"):
        score_interval(skewed(0, 20), confidence=1.0, seed=0)
    with pytest.raises(InvalidInput, match="at least one row"):
        smallest_mean_interval([], confidence=0.95, seed=0)


def test_the_smallest_mean_is_bounded_by_every_row() -> None:
    rows = [skewed(1, 40), skewed(2, 40) + 3.0, skewed(3, 40) + 0.05]
    interval = smallest_mean_interval(rows, confidence=0.95, seed=0)
    singles = [score_interval(row, confidence=0.95, seed=0) for row in rows]
    assert interval.lower == min(single.lower for single in singles)
    assert interval.upper >= min(single.upper for single in singles)
    assert interval.confidence == 0.95
    (alone,) = (smallest_mean_interval(rows[:1], confidence=0.95, seed=0),)
    assert alone == singles[0]


def test_the_smallest_mean_names_the_method_of_its_lower_end() -> None:
    rows = [np.zeros(30), skewed(1, 30) - 9.0]
    interval = smallest_mean_interval(rows, confidence=0.95, seed=0)
    assert interval.lower < 0.0
    assert interval.method == score_interval(rows[1], confidence=0.95, seed=0).method


def test_the_smallest_of_equal_means_is_covered_as_promised() -> None:
    hits = 0
    for seed in range(200):
        rows = [np.random.default_rng([seed, at]).normal(size=30) for at in range(4)]
        interval = smallest_mean_interval(rows, confidence=0.9, seed=seed)
        hits += interval.lower <= 0.0 <= interval.upper
    # Standard error .02; four lower ends may each miss 5 % on their side.
    assert hits / 200 >= 0.78
