"""Paired tests and intervals against brute force, an independent fit, and published numbers."""

from __future__ import annotations

from fractions import Fraction
from math import comb, log, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, norm

from fgmf.baselines import PairedCounts, difference_interval, regression_p_value
from fgmf.statistics import mcnemar_exact

COUNTS = st.integers(0, 40)


def _table(stayed: int, broken: int, fixed: int, both: int) -> PairedCounts:
    return PairedCounts(
        stayed_robust=stayed, newly_broken=broken, newly_fixed=fixed, stayed_broken=both
    )


@given(broken=COUNTS, fixed=COUNTS)
def test_p_values_are_sums_over_all_ways_to_break(broken: int, fixed: int) -> None:
    changed = broken + fixed
    ways = [Fraction(comb(changed, k), 2**changed) for k in range(changed + 1)]
    assert regression_p_value(broken, fixed) == pytest.approx(float(sum(ways[broken:])), rel=1e-9)
    two_sided = sum(w for k, w in enumerate(ways) if min(k, changed - k) <= min(broken, fixed))
    assert mcnemar_exact(broken, fixed) == pytest.approx(float(two_sided), rel=1e-9)
    if changed:
        other = binomtest(broken, changed, 0.5, alternative="greater").pvalue
        assert regression_p_value(broken, fixed) == pytest.approx(other, rel=1e-9)


def test_no_change_is_no_evidence() -> None:
    assert regression_p_value(0, 0) == mcnemar_exact(0, 0) == 1.0


def test_the_interval_is_the_published_one() -> None:
    """Airway hyper-responsiveness before and after stem cell transplantation (n = 21).

    Fagerland, Lydersen and Laake (2014), Statistics in Medicine 33:2850: Tango's score interval
    is (-0.517, -0.026).
    """
    interval = difference_interval(_table(1, 7, 1, 12))
    assert (round(interval.lower, 3), round(interval.upper, 3)) == (-0.517, -0.026)
    assert interval.method == "Tango score"


def _fitted_score(counts: PairedCounts, difference: float) -> float:
    """The score statistic with the nuisance parameter fitted numerically."""
    n, fixed, broken = counts.images, counts.newly_fixed, counts.newly_broken
    rest = n - fixed - broken
    low, high = max(0.0, -difference), (1.0 - difference) / 2.0

    def term(count: int, share: float) -> float:
        return count * log(max(share, 1e-300)) if count else 0.0

    def loss(share: float) -> float:  # of newly broken images
        return -(
            term(broken, share)
            + term(fixed, share + difference)
            + term(rest, 1.0 - 2.0 * share - difference)
        )

    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-12})
    share = min((low, high, float(found.x)), key=loss)
    variance = n * (2.0 * share + difference - difference**2)
    return (fixed - broken - n * difference) / sqrt(variance)


@given(stayed=COUNTS, broken=st.integers(1, 30), fixed=st.integers(1, 30), both=COUNTS)
def test_the_ends_are_where_a_fitted_score_is_at_the_limit(
    stayed: int, broken: int, fixed: int, both: int
) -> None:
    counts = _table(stayed, broken, fixed, both)
    interval = difference_interval(counts)
    limit = float(norm.isf(0.025))
    # The bounded search ends within about 1e-6 of the maximum, which is flat there.
    assert _fitted_score(counts, interval.lower) == pytest.approx(limit, abs=1e-3)
    assert _fitted_score(counts, interval.upper) == pytest.approx(-limit, abs=1e-3)


@given(stayed=COUNTS, broken=COUNTS, fixed=COUNTS, both=st.integers(1, 40))
def test_the_interval_holds_the_difference_and_turns_around_with_it(
    stayed: int, broken: int, fixed: int, both: int
) -> None:
    counts = _table(stayed, broken, fixed, both)
    interval = difference_interval(counts)
    assert -1.0 <= interval.lower <= counts.difference + 1e-9
    assert counts.difference - 1e-9 <= interval.upper <= 1.0
    turned = difference_interval(_table(stayed, fixed, broken, both))
    assert (turned.lower, turned.upper) == pytest.approx((-interval.upper, -interval.lower))


@pytest.mark.parametrize(("broken", "fixed"), [(60, 20), (10, 10)])
def test_more_images_make_it_narrower(broken: int, fixed: int) -> None:
    few = difference_interval(_table(100, broken, fixed, 100))
    many = difference_interval(_table(400, 4 * broken, 4 * fixed, 400))
    assert many.upper - many.lower < 0.6 * (few.upper - few.lower)


def test_it_covers_about_what_it_says() -> None:
    """Exact coverage over all tables of 30 images, at three true differences."""
    n = 30
    intervals = {
        (b, f): difference_interval(_table(n - b - f, b, f, 0))
        for b in range(n + 1)
        for f in range(n + 1 - b)
    }
    for p_broken, p_fixed in ((0.1, 0.1), (0.25, 0.1), (0.3, 0.05)):
        covered = 0.0
        for (b, f), interval in intervals.items():
            ways = comb(n, b) * comb(n - b, f)
            chance = ways * p_broken**b * p_fixed**f * (1 - p_broken - p_fixed) ** (n - b - f)
            inside = interval.lower <= p_fixed - p_broken <= interval.upper
            covered += chance * inside
        # Asymptotic: near 95 %, not at least.
        assert 0.93 < covered < 0.98
