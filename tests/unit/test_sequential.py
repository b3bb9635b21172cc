"""Confidence sequences: error rates over all orders, power, agreement with the fixed-n interval."""

from __future__ import annotations

import math
import time
from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from sequential_oracle import Boundaries, boundaries, exact_rates, simulated

from fgmf.errors import InvalidInput
from fgmf.sequential import ConfidenceSequence
from fgmf.statistics import binomial_interval, compare_to_threshold, hypergeometric_interval
from fgmf.verdict import Outcome

MARGINS = (0.0, 0.01, -0.01, 0.02, -0.02, 0.05, -0.05, 0.1, -0.1)
ORDERS = 2000
# (threshold, horizon, population, confidence)
SETTINGS = [
    (0.5, 1000, None, 0.95),
    (0.8, 500, None, 0.95),
    (0.3, 300, None, 0.8),
    (0.5, 1000, 10_000, 0.95),
    (0.8, 300, 1000, 0.95),
    (0.5, 300, 400, 0.8),
]


@pytest.fixture(scope="module", params=SETTINGS, ids=str)
def setting(request: pytest.FixtureRequest) -> tuple[float, float, Boundaries]:
    """Threshold, alpha and the table of the stopping rule."""
    threshold, horizon, population, confidence = request.param
    table = boundaries(
        threshold=threshold, horizon=horizon, confidence=confidence, population=population
    )
    return threshold, 1 - confidence, table


def sequence_of(threshold: float, alpha: float, table: Boundaries) -> ConfidenceSequence:
    return ConfidenceSequence(
        population_size=table.population,
        confidence=1 - alpha,
        threshold=threshold,
        horizon=table.horizon,
    )


def an_order(rng: np.random.Generator, share: float, table: Boundaries) -> np.ndarray:
    if table.population is None:
        return rng.random(table.horizon) < share
    members = np.arange(table.population) < round(share * table.population)
    return rng.choice(members, table.horizon, replace=False)


def decided_at(
    sequence: ConfidenceSequence, outcomes: np.ndarray, threshold: float
) -> tuple[int, Outcome]:
    for n, outcome in enumerate(outcomes, 1):
        sequence.update([bool(outcome)])
        verdict = sequence.decide(threshold)
        if verdict is not Outcome.INCONCLUSIVE:
            return n, verdict
    return len(outcomes), Outcome.INCONCLUSIVE


class TestErrorRates:
    """What a gate may promise, whatever the true share and however often it looks."""

    def test_over_all_orders(self, setting: tuple[float, float, Boundaries]) -> None:
        """Exact: every order is counted with its probability."""
        threshold, alpha, table = setting
        for margin in MARGINS:
            passed, failed, _ = exact_rates(table, threshold + margin)
            wrong = failed if margin >= 0 else passed
            assert wrong <= alpha, margin

    def test_over_simulated_orders(self, setting: tuple[float, float, Boundaries]) -> None:
        """2000 orders each; the tolerance is 4 binomial standard errors of the exact rate."""
        threshold, alpha, table = setting
        for number, margin in enumerate(MARGINS):
            share = threshold + margin
            rates = simulated(table, share, orders=ORDERS, seed=number)
            for rate, exact in zip(rates, exact_rates(table, share)[:2], strict=True):
                spread = 4 * math.sqrt(max(exact * (1 - exact), 1e-3) / ORDERS)
                assert rate == pytest.approx(exact, abs=spread), margin
            wrong = rates[1] if margin >= 0 else rates[0]
            assert wrong <= binom.isf(1e-4, ORDERS, alpha) / ORDERS

    def test_the_class_stops_where_the_table_says(
        self, setting: tuple[float, float, Boundaries]
    ) -> None:
        threshold, alpha, table = setting
        rng = np.random.default_rng(5)
        for share in (threshold - 0.1, threshold - 0.04, threshold, threshold + 0.06):
            for _ in range(6):
                outcomes = an_order(rng, share, table)
                counts = outcomes.cumsum()
                ends = (counts >= table.passing[1:]) | (counts <= table.failing[1:])
                expected, verdict = len(outcomes), Outcome.INCONCLUSIVE
                if ends.any():
                    expected = int(ends.argmax()) + 1
                    passes = counts[expected - 1] >= table.passing[expected]
                    verdict = Outcome.PASS if passes else Outcome.FAIL
                got = decided_at(sequence_of(threshold, alpha, table), outcomes, threshold)
                assert got == (expected, verdict), share

    @pytest.mark.parametrize("horizon", [None, 6])
    def test_the_interval_covers_every_share_of_a_small_set(self, horizon: int | None) -> None:
        """Every order of every set of 10: the share leaves the interval in few enough of them."""
        confidence, size = Fraction(4, 5), 10
        missed, orders = dict.fromkeys(range(size + 1), 0), dict.fromkeys(range(size + 1), 0)
        for order in product((False, True), repeat=size):
            sequence = ConfidenceSequence(
                population_size=size, confidence=0.8, threshold=0.5, horizon=horizon
            )
            share = sum(order) / size
            bounds = [sequence.update([outcome]) for outcome in order]
            missed[sum(order)] += any(not b.lower <= share <= b.upper for b in bounds)
            orders[sum(order)] += 1
        for successes, count in orders.items():
            assert Fraction(missed[successes], count) <= 1 - confidence
        assert sum(missed.values()) > 0  # it does exclude something before the end

    @pytest.mark.parametrize("share", [0.03, 0.5])
    def test_the_interval_covers_the_share_of_a_distribution(self, share: float) -> None:
        """At a share far from the threshold and at it; 4 standard errors of 200 runs."""
        rng, missed, runs = np.random.default_rng(1), 0, 200
        for _ in range(runs):
            sequence = ConfidenceSequence(
                population_size=None, confidence=0.8, threshold=0.5, horizon=120
            )
            bounds = sequence.update(rng.random(150) < share)  # the intersection over time
            missed += not bounds.lower <= share <= bounds.upper
        assert missed / runs <= 0.2 + 4 * math.sqrt(0.2 * 0.8 / runs)


class TestPower:
    """Always inconclusive must not win."""

    def test_five_points_from_the_bar_with_1000_images(self) -> None:
        """At the hardest threshold; and never less often than the exact test of 1000 images."""
        table = boundaries(threshold=0.5, horizon=1000, confidence=0.95, population=None)
        for share in (0.45, 0.55):
            passed, failed, decided = exact_rates(table, share)
            right = passed if share > 0.5 else failed
            critical = next(s for s in range(500, 1001) if binom.sf(s - 1, 1000, 0.5) <= 0.025)
            fixed = binom.sf(critical - 1, 1000, max(share, 1 - share))
            assert right >= fixed - 0.005  # some orders stop early, and wrongly
            assert right >= 0.8
            assert decided.searchsorted(0.5) < 800

    def test_far_from_the_bar_a_few_images_decide(self) -> None:
        table = boundaries(threshold=0.5, horizon=1000, confidence=0.95, population=None)
        assert exact_rates(table, 0.05)[2].searchsorted(0.9) <= 20
        assert exact_rates(table, 0.7)[2].searchsorted(0.9) <= 120

    @given(data=st.data(), population=st.sampled_from([None, 200, 1000]))
    def test_at_the_horizon_it_decides_where_the_fixed_interval_does(
        self, data: st.DataObject, population: int | None
    ) -> None:
        horizon = data.draw(st.integers(5, 150))
        threshold = data.draw(st.sampled_from([0.2, 0.5, 0.55, 0.9]))
        successes = data.draw(st.integers(0, horizon))
        order = np.random.default_rng(0).permutation(np.arange(horizon) < successes)
        sequence = ConfidenceSequence(
            population_size=population, confidence=0.9, threshold=threshold, horizon=horizon
        )
        sequence.update(order)
        if population is None:
            fixed = binomial_interval(successes, horizon, confidence=0.9)
        else:
            fixed = hypergeometric_interval(
                successes, horizon, population=population, confidence=0.9
            )
        outcome = compare_to_threshold(fixed, threshold)
        if outcome is not Outcome.INCONCLUSIVE:
            assert sequence.decide(threshold) is outcome


class TestInterval:
    def test_no_outcomes_say_nothing(self) -> None:
        sequence = ConfidenceSequence(population_size=None, confidence=0.95)
        assert (sequence.interval.lower, sequence.interval.upper) == (0.0, 1.0)
        assert sequence.decide(0.5) is Outcome.INCONCLUSIVE

    def test_used_up_set_is_exact(self) -> None:
        sequence = ConfidenceSequence(population_size=8, confidence=0.95)
        bounds = sequence.update([True] * 5 + [False] * 3)
        assert (bounds.lower, bounds.upper, bounds.method) == (0.625, 0.625, "exact count")
        assert sequence.decide(0.625) is Outcome.PASS
        assert sequence.decide(0.63) is Outcome.FAIL

    def test_what_was_seen_is_certain_in_a_set(self) -> None:
        """Six of eight seen right: whatever comes, the share is at least 6/8."""
        sequence = ConfidenceSequence(population_size=8, confidence=0.999999)
        bounds = sequence.update([True] * 6)
        assert (bounds.lower, bounds.upper) == (0.75, 1.0)

    @pytest.mark.parametrize("population", [None, 500])
    @pytest.mark.parametrize("horizon", [None, 300])
    def test_is_nested_and_does_not_depend_on_the_batches(
        self, population: int | None, horizon: int | None
    ) -> None:
        outcomes = np.random.default_rng(3).random(400) < 0.42

        def fresh() -> ConfidenceSequence:
            return ConfidenceSequence(
                population_size=population, confidence=0.95, threshold=0.4, horizon=horizon
            )

        single, halves = fresh(), fresh()
        bounds = [single.update([outcome]) for outcome in outcomes]
        for earlier, later in pairwise(bounds):
            assert earlier.lower <= later.lower <= later.upper <= earlier.upper
        halves.update(outcomes[:123])
        assert halves.update(outcomes[123:]) == bounds[-1] == fresh().update(outcomes)
        assert bounds[-1].upper - bounds[-1].lower < 0.2

    def test_mirrors(self) -> None:
        """Failures of 0.3 look like successes of 0.7."""
        outcomes = np.random.default_rng(3).random(300) < 0.3
        plain, mirrored = (
            ConfidenceSequence(population_size=None, confidence=0.9).update(o)
            for o in (outcomes, ~outcomes)
        )
        assert plain.lower == pytest.approx(1 - mirrored.upper, abs=1e-12)
        assert plain.upper == pytest.approx(1 - mirrored.lower, abs=1e-12)

    def test_bounds_solve_the_equation_of_the_mixture(self) -> None:
        """The wager of Robbins (1970), looked at 100 times, reached 20 up to the bounds."""
        outcomes = np.random.default_rng(8).random(100) < 0.6
        bounds = ConfidenceSequence(population_size=None, confidence=0.95).update(outcomes)

        def largest(share: float) -> float:
            looks = enumerate(outcomes.cumsum(), 1)
            return max(1 / ((n + 1) * binom.pmf(s, n, share)) for n, s in looks)

        step = 1.5e-4  # bounds are rounded outwards by up to 1e-4
        assert largest(bounds.lower - step) >= 20 > largest(bounds.lower + step)
        assert largest(bounds.upper + step) >= 20 > largest(bounds.upper - step)

    def test_a_misleading_run_leaves_a_nonempty_interval(self) -> None:
        """Two hundred successes, then failures only: at most one side gives way."""
        sequence = ConfidenceSequence(
            population_size=None, confidence=0.5, threshold=0.5, horizon=300
        )
        for outcome in [True] * 200 + [False] * 5000:
            bounds = sequence.update([outcome])
            assert 0.0 <= bounds.lower <= bounds.upper <= 1.0

    @pytest.mark.parametrize("threshold", [0.0, 1.0])
    def test_extreme_thresholds(self, threshold: float) -> None:
        sequence = ConfidenceSequence(
            population_size=None, confidence=0.95, threshold=threshold, horizon=50
        )
        sequence.update([True] * 30 + [False] * 5)
        assert sequence.decide(0.0) is Outcome.PASS
        assert sequence.decide(1.0) is Outcome.FAIL

    @pytest.mark.parametrize("population", [None, 10_000, 1_000_000])
    def test_ten_thousand_outcomes_take_less_than_a_second(self, population: int | None) -> None:
        outcomes = (np.random.default_rng(0).random(10_000) < 0.5).tolist()
        sequence = ConfidenceSequence(
            population_size=population, confidence=0.95, threshold=0.45, horizon=9000
        )
        start = time.process_time()
        for outcome in outcomes:
            sequence.update([outcome])
        # About 0.15 s on one slow core; a set of a million is 100 times as fine.
        assert time.process_time() - start < (1.0 if population != 1_000_000 else 4.0)


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"confidence": 1.0}, "confidence between 0 and 1"),
            ({"confidence": math.nan}, "confidence between 0 and 1"),
            ({"threshold": 1.5}, "threshold as a share"),
            ({"threshold": math.nan}, "threshold as a share"),
            ({"population_size": 0}, "population_size of at least one"),
            ({"horizon": 0}, "horizon of at least one"),
        ],
    )
    def test_impossible_ones_are_refused(self, arguments: dict[str, float], message: str) -> None:
        with pytest.raises(InvalidInput, match=message):
            ConfidenceSequence(**{"population_size": None, "confidence": 0.95, **arguments})

    @pytest.mark.parametrize("outcome", [math.nan, 1, None, "True", np.float64(1.0)])
    def test_an_outcome_that_is_no_boolean_changes_nothing(self, outcome: object) -> None:
        """A NaN is true in Python."""
        sequence = ConfidenceSequence(population_size=None, confidence=0.95)
        with pytest.raises(InvalidInput, match="outcomes as booleans"):
            sequence.update([True, outcome])
        assert sequence.trials == 0

    def test_booleans_of_numpy_and_torch(self) -> None:
        sequence = ConfidenceSequence(population_size=None, confidence=0.95)
        sequence.update(np.array([True, False]))
        sequence.update(torch.tensor([True, True]))
        assert (sequence.trials, sequence.successes) == (4, 3)

    def test_more_than_the_set_holds_is_refused(self) -> None:
        sequence = ConfidenceSequence(population_size=3, confidence=0.95)
        sequence.update([True, True])
        with pytest.raises(InvalidInput, match="at most the 3 outcomes of the set, got 4"):
            sequence.update([True, True])
        assert sequence.trials == 2

    def test_repr_makes_an_equal_one(self) -> None:
        sequence = ConfidenceSequence(population_size=9, confidence=0.9, threshold=0.5, horizon=4)
        assert repr(eval(repr(sequence))) == repr(sequence)  # noqa: S307 - our own text
