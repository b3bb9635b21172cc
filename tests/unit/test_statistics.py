"""Exact intervals, judged shares, paired change, stratified samples: against slow oracles."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from fgmf.errors import InvalidInput
from fgmf.statistics import (
    binomial_interval,
    compare_to_limit,
    compare_to_threshold,
    hypergeometric_interval,
    judge_share,
    mcnemar_exact,
)
from fgmf.verdict import Interval, Outcome

CONFIDENCES = (0.5, 0.9, 0.95, 0.999)


def interval(lower: float, upper: float) -> Interval:
    """An interval of which only the bounds matter."""
    return Interval(lower=lower, upper=upper, confidence=0.95, method="test")


def hypergeometric_mass(k: int, *, trials: int, total: int, population: int) -> Fraction:
    """Exact P(X = k) from binomial coefficients."""
    ways = math.comb(total, k) * math.comb(population - total, trials - k)
    return Fraction(ways, math.comb(population, trials))


def inverted_tails(successes: int, trials: int, population: int, tail: Fraction) -> list[int]:
    """Every number of successes in the set that neither tail rejects, tried one by one."""
    accepted = []
    for total in range(successes, population - (trials - successes) + 1):
        mass = [
            hypergeometric_mass(k, trials=trials, total=total, population=population)
            for k in range(trials + 1)
        ]
        if sum(mass[successes:]) > tail and sum(mass[: successes + 1]) > tail:
            accepted.append(total)
    return accepted


class TestBinomialInterval:
    """Clopper-Pearson."""

    @pytest.mark.parametrize("confidence", CONFIDENCES)
    @pytest.mark.parametrize("trials", [1, 2, 7, 30, 1000])
    def test_agrees_with_scipy(self, trials: int, confidence: float) -> None:
        """The bounds are those of scipy's exact test."""
        for successes in {0, 1, trials // 3, trials - 1, trials}:
            ours = binomial_interval(successes, trials, confidence=confidence)
            theirs = binomtest(successes, trials).proportion_ci(confidence, method="exact")
            # scipy finds the quantile by a root search to about 1e-12.
            assert ours.lower == pytest.approx(theirs.low, abs=1e-9)
            assert ours.upper == pytest.approx(theirs.high, abs=1e-9)

    @pytest.mark.parametrize("confidence", [0.9, 0.95])
    def test_covers_at_least_the_confidence(self, confidence: float) -> None:
        """Coverage, by full enumeration of the outcomes, never falls below what was asked."""
        shares = np.linspace(0.0, 1.0, 101)
        for trials in range(1, 31):
            bounds = [
                binomial_interval(k, trials, confidence=confidence) for k in range(trials + 1)
            ]
            for share in shares:
                coverage = sum(
                    math.comb(trials, k) * share**k * (1 - share) ** (trials - k)
                    for k, bound in enumerate(bounds)
                    if bound.lower <= share <= bound.upper
                )
                # The sum of at most 31 products in float64.
                assert coverage >= confidence - 1e-12, (trials, share)

    def test_is_not_trivial(self) -> None:
        """The interval excludes what is far away, so coverage is not bought with [0, 1]."""
        bounds = binomial_interval(50, 100, confidence=0.95)
        assert (bounds.lower, bounds.upper) == pytest.approx((0.39832, 0.60168), abs=1e-5)
        assert bounds.method == "Clopper-Pearson"
        assert bounds.confidence == 0.95

    @given(data=st.data(), trials=st.integers(1, 300))
    @settings(deadline=None)
    def test_contains_the_estimate_and_mirrors(self, data: st.DataObject, trials: int) -> None:
        """The point estimate is inside, and failures have the mirrored interval."""
        successes = data.draw(st.integers(0, trials))
        bounds = binomial_interval(successes, trials, confidence=0.95)
        mirrored = binomial_interval(trials - successes, trials, confidence=0.95)
        assert 0 <= bounds.lower <= successes / trials <= bounds.upper <= 1
        assert bounds.lower == pytest.approx(1 - mirrored.upper, abs=1e-9)

    def test_numbers_of_numpy_are_numbers(self) -> None:
        """Counts come out of arrays as numpy integers."""
        three, nine = (number for number in np.array([3, 9]))
        ours = binomial_interval(three, nine, confidence=0.95)
        assert ours == binomial_interval(3, 9, confidence=0.95)
        assert type(ours.lower) is float


class TestHypergeometricInterval:
    """The interval of a share of a finite set."""

    @pytest.mark.parametrize("confidence", [0.8, 0.95])
    def test_agrees_with_trying_every_total(self, confidence: float) -> None:
        """Bisection finds what trying every number of successes in exact fractions finds."""
        tail = (1 - Fraction(str(confidence))) / 2
        for population, trials in [(2, 1), (9, 4), (12, 11), (25, 10), (40, 3)]:
            for successes in range(trials + 1):
                ours = hypergeometric_interval(
                    successes, trials, population=population, confidence=confidence
                )
                accepted = inverted_tails(successes, trials, population, tail)
                expected = accepted[0] / population, accepted[-1] / population
                assert (ours.lower, ours.upper) == expected, (population, trials, successes)

    def test_covers_at_least_the_confidence(self) -> None:
        """Coverage by full enumeration of every set and every draw from it."""
        for population in (5, 16, 30):
            for trials in range(1, population):
                bounds = [
                    hypergeometric_interval(k, trials, population=population, confidence=0.9)
                    for k in range(trials + 1)
                ]
                for total in range(population + 1):
                    share = total / population
                    coverage = sum(
                        hypergeometric_mass(k, trials=trials, total=total, population=population)
                        for k in range(max(0, trials - population + total), min(trials, total) + 1)
                        if bounds[k].lower <= share <= bounds[k].upper
                    )
                    assert coverage >= Fraction(9, 10), (population, trials, total)

    def test_whole_set_is_an_exact_point(self) -> None:
        """Nothing is left to chance when every member was used."""
        bounds = hypergeometric_interval(45, 100, population=100, confidence=0.95)
        assert (bounds.lower, bounds.upper) == (0.45, 0.45)
        assert bounds.method == "exact count"

    @given(data=st.data(), population=st.integers(2, 400))
    @settings(deadline=None)
    def test_what_was_seen_is_possible(self, data: st.DataObject, population: int) -> None:
        """The bounds allow for the successes and failures that were drawn."""
        trials = data.draw(st.integers(1, population - 1))
        successes = data.draw(st.integers(0, trials))
        bounds = hypergeometric_interval(successes, trials, population=population, confidence=0.95)
        assert successes / population <= bounds.lower <= successes / trials + 1e-12
        assert successes / trials - 1e-12 <= bounds.upper
        assert bounds.upper <= 1 - (trials - successes) / population + 1e-12

    def test_large_set_approaches_the_binomial(self) -> None:
        """A small draw from a million is nearly a draw from a distribution."""
        finite = hypergeometric_interval(206, 500, population=1_000_000, confidence=0.95)
        infinite = binomial_interval(206, 500, confidence=0.95)
        assert finite.lower == pytest.approx(infinite.lower, abs=2e-4)
        assert finite.upper == pytest.approx(infinite.upper, abs=2e-4)

    def test_million_of_which_half_was_drawn(self) -> None:
        """A large draw is quick and tight: four standard errors of the finite set at most."""
        bounds = hypergeometric_interval(206_000, 500_000, population=10**6, confidence=0.95)
        assert bounds.lower < 0.412 < bounds.upper
        assert bounds.upper - bounds.lower < 4 * math.sqrt(0.412 * 0.588 / 500_000 * 0.5) * 1.01

    def test_set_smaller_than_the_draw_is_refused(self) -> None:
        """More were drawn than there are."""
        with pytest.raises(InvalidInput, match="population of at least the 10 trials, got 9"):
            hypergeometric_interval(5, 10, population=9, confidence=0.95)


@pytest.mark.parametrize(
    ("successes", "trials", "confidence", "message"),
    [
        (0, 0, 0.95, "at least one trial"),
        (5, 4, 0.95, "at most 4 successes"),
        (-1, 4, 0.95, "successes >= 0"),
        (1.5, 4, 0.95, "successes as a whole number"),
        (1, 4, 1.0, "confidence between 0 and 1"),
        (1, 4, 0.0, "confidence between 0 and 1"),
        (1, 4, math.nan, "confidence between 0 and 1"),
    ],
)
def test_impossible_counts_are_refused(
    successes: int, trials: int, confidence: float, message: str
) -> None:
    """No interval, and above all no 1.0, out of nothing."""
    with pytest.raises(InvalidInput, match=message):
        binomial_interval(successes, trials, confidence=confidence)
    with pytest.raises(InvalidInput, match=message):
        hypergeometric_interval(successes, trials, population=10, confidence=confidence)
    for population in (None, 10):
        with pytest.raises(InvalidInput, match=message):
            judge_share(
                "robust_accuracy",
                successes,
                trials,
                threshold=0.0,
                confidence=confidence,
                population_size=population,
            )


class TestCompareToThreshold:
    """The three ends of a comparison."""

    @pytest.mark.parametrize(
        ("lower", "upper", "threshold", "outcome"),
        [
            (0.45, 0.60, 0.45, Outcome.PASS),
            (0.45, 0.45, 0.45, Outcome.PASS),
            (0.30, 0.40, 0.1 + 0.2, Outcome.PASS),
            (0.449999, 0.60, 0.45, Outcome.INCONCLUSIVE),
            (0.30, 0.45, 0.45, Outcome.INCONCLUSIVE),
            (0.10, 0.30, 0.1 + 0.2, Outcome.INCONCLUSIVE),
            (0.30, 0.449999, 0.45, Outcome.FAIL),
            (0.0, 0.0, 0.0, Outcome.PASS),
            (0.99, 1.0, 1.0, Outcome.INCONCLUSIVE),
            (1.0, 1.0, 1.0, Outcome.PASS),
        ],
    )
    def test_edges(self, lower: float, upper: float, threshold: float, outcome: Outcome) -> None:
        """Equal is enough for a PASS, and too much for a FAIL."""
        assert compare_to_threshold(interval(lower, upper), threshold) is outcome

    @pytest.mark.parametrize(
        ("lower", "upper", "threshold"),
        [
            (math.nan, 0.5, 0.4),
            (0.4, math.nan, 0.4),
            (0.4, 0.5, math.nan),
            (0.4, 0.5, 1.5),
            (0.4, math.inf, 0.4),
            (0.5, 0.4, 0.3),
        ],
    )
    def test_no_verdict_on_nonsense(self, lower: float, upper: float, threshold: float) -> None:
        """NaN, bounds in the wrong order, and shares that are none are errors, never verdicts."""
        with pytest.raises(InvalidInput, match="expected"):
            compare_to_threshold(interval(lower, upper), threshold)

    @given(st.integers(1, 200), st.data())
    def test_exact_share_meets_itself(self, trials: int, data: st.DataObject) -> None:
        """A share of a whole set passes the threshold that is written as the same fraction."""
        successes = data.draw(st.integers(0, trials))
        point = hypergeometric_interval(successes, trials, population=trials, confidence=0.95)
        assert compare_to_threshold(point, successes * (1 / trials)) is Outcome.PASS


class TestCompareToLimit:
    """Any quantity, against the lowest or the highest accepted value."""

    @given(st.tuples(*[st.floats(-9, 9)] * 2).map(sorted), st.floats(-9, 9))
    def test_a_highest_value_is_a_lowest_one_seen_in_a_mirror(
        self, ends: list[float], limit: float
    ) -> None:
        """At most 3 means of x what at least -3 means of -x."""
        lower, upper = ends
        mirrored = compare_to_limit(interval(-upper, -lower), -limit)
        assert compare_to_limit(interval(lower, upper), limit, direction="at-most") is mirrored

    @pytest.mark.parametrize(
        ("lower", "upper", "outcome"),
        [
            (-0.2, 0.05, Outcome.PASS),
            (0.05, 0.05, Outcome.PASS),
            (0.05, 0.06, Outcome.INCONCLUSIVE),
            (0.06, 2.0, Outcome.FAIL),
        ],
    )
    def test_edges_of_a_highest_value(self, lower: float, upper: float, outcome: Outcome) -> None:
        """Equal is enough for a PASS, and too little for a FAIL."""
        found = compare_to_limit(interval(lower, upper), 0.05, direction="at-most")
        assert found is outcome

    @pytest.mark.parametrize("numbers", [(math.nan, 1, 0), (0, math.inf, 0), (0, 1, math.nan)])
    def test_no_verdict_on_nonsense(self, numbers: tuple[float, float, float]) -> None:
        """A number that is none never becomes a verdict."""
        lower, upper, limit = numbers
        with pytest.raises(InvalidInput, match="finite"):
            compare_to_limit(interval(lower, upper), limit)


class TestJudgeShare:
    """Interval and judgement in one condition."""

    def test_distribution(self) -> None:
        """Without a population the trials are a sample of a distribution."""
        condition = judge_share("robust_accuracy", 206, 500, threshold=0.5, confidence=0.95)
        assert condition.outcome is Outcome.FAIL
        assert condition.measured == 0.412
        assert condition.interval == binomial_interval(206, 500, confidence=0.95)
        assert (condition.quantity, condition.threshold, condition.subject) == (
            "robust_accuracy",
            0.5,
            "",
        )

    def test_same_counts_are_decided_by_the_population(self) -> None:
        """The same share is a PASS on exactly this set and undecided on a distribution."""
        whole = judge_share(
            "robust_accuracy",
            46,
            100,
            threshold=0.45,
            confidence=0.95,
            population_size=100,
            subject="class 3",
        )
        sample = judge_share("robust_accuracy", 46, 100, threshold=0.45, confidence=0.95)
        assert (whole.outcome, sample.outcome) == (Outcome.PASS, Outcome.INCONCLUSIVE)
        assert whole.subject == "class 3"


class TestMcNemar:
    """Paired change."""

    @given(st.integers(0, 300), st.integers(0, 300))
    @settings(deadline=None)
    def test_agrees_with_scipy(self, broken: int, fixed: int) -> None:
        """The same two-sided p-value as scipy's binomial test at one half."""
        expected = binomtest(broken, broken + fixed).pvalue if broken + fixed else 1.0
        assert mcnemar_exact(broken, fixed) == pytest.approx(expected, rel=1e-9)

    def test_negative_counts_are_refused(self) -> None:
        """A count is not negative."""
        with pytest.raises(InvalidInput, match="newly_fixed >= 0"):
            mcnemar_exact(1, -1)
