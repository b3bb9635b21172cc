from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fgmf.errors import InvalidInput
from fgmf.faithfulness.intervals import score_interval, smallest_mean_interval
from fgmf.statistics import binomial_interval, hypergeometric_interval

if TYPE_CHECKING:
    from fgmf.verdict import Interval

SHARE, SIGNED = (0.0, 1.0), (-1.0, 1.0)


def skewed(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, size=count)


def bounded(values: np.ndarray, confidence: float = 0.95, **more: object) -> Interval:
    return score_interval(values, confidence=confidence, **{"scale": None, **more})  # type: ignore[arg-type]


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough to see coverage, in a tenth of the time."""
    monkeypatch.setattr("fgmf.faithfulness.intervals.RESAMPLES", 2000)


@pytest.mark.usefixtures("few_resamples")
def test_the_mean_is_covered_as_often_as_promised() -> None:
    hits = 0
    for seed in range(200):
        interval = bounded(skewed(seed, 40), 0.9)
        hits += interval.lower <= 2.0 <= interval.upper
    # 200 trials at .9: standard error .021; skewed values of 40 images cost a little coverage.
    assert 0.85 <= hits / 200 <= 0.96


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("share", [0.01, 0.03, 0.1])
def test_rare_low_scores_are_covered_too(share: float) -> None:
    """Most scores are 1 and a few are not: what a stable explainer's similarities look like."""
    hits = 0
    for seed in range(120):
        generator = np.random.default_rng([seed, 7])
        low = generator.uniform(-0.5, 0.5, size=60)
        values = np.where(generator.random(60) < share, low, 1.0)
        interval = bounded(values, 0.9, scale=SIGNED)
        assert -1.0 <= interval.lower <= values.mean() <= interval.upper
        hits += interval.lower <= 1.0 - share <= interval.upper
    assert hits / 120 >= 0.82  # standard error .027


def test_of_a_finite_set_intervals_shrink_to_the_mean() -> None:
    values = skewed(1, 60)
    wide, half, point = (bounded(values, population=size) for size in (None, 120, 60))
    length = wide.upper - wide.lower
    # The finite population factor sqrt(1 - 60 / 120), up to rounding.
    assert half.upper - half.lower == pytest.approx(length * np.sqrt(0.5))
    assert (point.lower, point.upper, point.method) == (values.mean(), values.mean(), "exact mean")


def test_scores_at_the_ends_of_their_scale_are_shares() -> None:
    values = np.array([1.0] * 12)
    assert bounded(values, scale=SHARE) == binomial_interval(12, 12, confidence=0.95)
    values[3] = 0.0
    exact = hypergeometric_interval(11, 12, population=30, confidence=0.95)
    assert bounded(values, scale=SHARE, population=30) == exact


def test_similarities_that_are_all_one_may_hide_opposite_ones() -> None:
    """One image in `share` of the distribution may be -1, not 0, without having been seen."""
    interval = bounded(np.ones(100), scale=SIGNED)
    least = 0.025 ** (1 / 100)  # P(100 images at 1 | share of them) = 2.5 %
    assert interval.lower == pytest.approx(2 * least - 1)
    assert interval.upper == 1.0
    assert interval.lower < binomial_interval(100, 100, confidence=0.95).lower


def test_equal_scores_within_their_scale_have_an_interval() -> None:
    interval = bounded(np.full(50, 0.5), scale=SIGNED)
    least = 0.025 ** (1 / 50)
    assert interval.lower == pytest.approx(0.5 * least - (1 - least))
    assert interval.upper == pytest.approx(0.5 * least + (1 - least))
    assert interval.method.startswith("one value")
    finite = bounded(np.full(50, 0.5), scale=SIGNED, population=100)
    assert interval.lower < finite.lower < 0.5 < finite.upper < interval.upper


def test_few_scores_that_differ_are_bounded_by_hoeffding() -> None:
    values = np.full(12, 0.3)
    values[0] = 0.9
    interval = bounded(values, scale=SHARE)
    assert interval.method == "Chernoff-Hoeffding"
    mean, limit = values.mean(), math.log(2 / 0.05)
    for end in (interval.lower, interval.upper):
        entropy = mean * math.log(mean / end) + (1 - mean) * math.log((1 - mean) / (1 - end))
        assert 12 * entropy == pytest.approx(limit)
    assert interval.lower < mean < interval.upper


def test_scores_without_bounds_that_hardly_vary_are_no_evidence() -> None:
    values = np.full(12, 0.3)
    with pytest.raises(InvalidInput, match=r"scores that vary, got 0\.3 for each image"):
        bounded(values)
    values[0] = 0.9  # most resamples of one other value don't vary
    with pytest.raises(InvalidInput, match="nearly the same of all 12 images"):
        bounded(values)


def test_the_same_scores_have_the_same_interval() -> None:
    """No seed moves it, and scores that hardly differ have intervals that hardly do."""
    values = skewed(3, 50)
    first = bounded(values)
    assert first == bounded(values.copy())
    near = bounded(values * (1 + 1e-9))
    assert near.lower == pytest.approx(first.lower, rel=1e-6)
    assert near.upper == pytest.approx(first.upper, rel=1e-6)


def test_resamples_fix_the_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other resamples would move the ends by a hundredth of the length."""
    values = skewed(3, 50)
    first = bounded(values)
    length = first.upper - first.lower
    for seed in range(1, 6):
        monkeypatch.setattr("fgmf.faithfulness.intervals._SEED", seed)
        other = bounded(values)
        assert other != first
        # Standard deviation of one end: .005 of the length for normal tails, more for skewed ones.
        assert abs(first.lower - other.lower) < 0.02 * length
        assert abs(first.upper - other.upper) < 0.04 * length


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(-50, 50), st.floats(0.01, 100))
def test_intervals_move_and_stretch_with_the_scores(
    seed: int, shift: float, stretch: float
) -> None:
    values = skewed(seed, 25)
    plain, moved = bounded(values), bounded(stretch * values + shift)
    # Rounding of sums near `shift`.
    assert moved.lower == pytest.approx(stretch * plain.lower + shift, abs=1e-6)
    assert moved.upper == pytest.approx(stretch * plain.upper + shift, abs=1e-6)
    assert plain.lower <= values.mean() <= plain.upper


def test_the_studentised_bootstrap_is_the_slow_one() -> None:
    """Resample by resample, as the book has it; the tails of both are those of many resamples."""
    values, generator = skewed(5, 30), np.random.default_rng(0)
    statistics = []
    for _ in range(20_000):
        drawn = generator.choice(values, size=30)
        error = drawn.std(ddof=1) / np.sqrt(30)
        statistics.append((drawn.mean() - values.mean()) / error)
    low, high = np.quantile(statistics, (0.025, 0.975))
    error = values.std(ddof=1) / np.sqrt(30)
    interval = bounded(values)
    # Two sets of 20000 resamples: some .03 in t each.
    assert interval.lower == pytest.approx(values.mean() - high * error, abs=0.1 * error)
    assert interval.upper == pytest.approx(values.mean() - low * error, abs=0.25 * error)


def test_few_images_and_numbers_that_are_none_are_refused() -> None:
    for values in (skewed(0, 9), np.ones(9), np.zeros(9)):
        for population in (None, 20, 9):  # nor do so few images speak for themselves
            with pytest.raises(InvalidInput, match="at least 10 images, got 9"):
                bounded(values, scale=(0.0, 100.0), population=population)
    with pytest.raises(InvalidInput, match="finite scores"):
        bounded(np.array([np.nan] * 20))
    with pytest.raises(InvalidInput, match="finite scores, got 0"):
        bounded(np.zeros(0))
    with pytest.raises(InvalidInput, match="a confidence between 0 and 1"):
        bounded(skewed(0, 20), 1.0)
    with pytest.raises(InvalidInput, match=r"expected scores in \[0, 1\]"):
        bounded(np.linspace(0, 1.1, 20), scale=SHARE)
    with pytest.raises(InvalidInput, match="at least one row"):
        smallest_mean_interval([], confidence=0.95, scale=None)


def test_the_smallest_mean_is_bounded_by_every_row() -> None:
    rows = [skewed(1, 40), skewed(2, 40) + 3.0, skewed(3, 40) + 0.05]
    interval = smallest_mean_interval(rows, confidence=0.95, scale=None)
    singles = [bounded(row) for row in rows]
    assert interval.lower == min(single.lower for single in singles)
    assert interval.upper >= min(single.upper for single in singles)
    assert interval.confidence == 0.95
    (alone,) = (smallest_mean_interval(rows[:1], confidence=0.95, scale=None),)
    assert alone == singles[0]


def test_the_smallest_mean_names_the_method_of_its_lower_end() -> None:
    rows = [np.zeros(30), skewed(1, 30) - 9.0]
    interval = smallest_mean_interval(rows, confidence=0.95, scale=(-20.0, 20.0))
    assert interval.lower < -6.0
    assert interval.method == bounded(rows[1]).method


@pytest.mark.usefixtures("few_resamples")
def test_the_smallest_of_equal_means_is_covered_as_promised() -> None:
    hits = 0
    for seed in range(200):
        rows = [np.random.default_rng([seed, at]).normal(size=30) for at in range(4)]
        interval = smallest_mean_interval(rows, confidence=0.9, scale=None)
        hits += interval.lower <= 0.0 <= interval.upper
    # Standard error .02; four lower ends may each miss 5 % on their side.
    assert hits / 200 >= 0.78
