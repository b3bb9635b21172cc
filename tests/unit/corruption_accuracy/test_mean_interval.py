"""The interval of a mean: known ends, coverage by simulation, wrong questions refused."""

from __future__ import annotations

import numpy as np
import pytest

from fgmf.corruption_accuracy.mean_interval import mean_interval
from fgmf.errors import InvalidInput
from fgmf.statistics import binomial_interval


@pytest.mark.parametrize("trials", [1, 10, 500])
def test_ends_are_known_in_closed_form(trials: int) -> None:
    all_right = mean_interval(1.0, trials, confidence=0.95)
    assert all_right.upper == 1.0
    assert all_right.lower == pytest.approx(0.025 ** (1 / trials))
    none_right = mean_interval(0.0, trials, confidence=0.95)
    assert (none_right.lower, none_right.upper) == (0.0, pytest.approx(1 - all_right.lower))


@pytest.mark.parametrize("successes", [0, 1, 50, 99, 100])
def test_it_is_no_shorter_than_the_exact_interval_of_coins(successes: int) -> None:
    exact = binomial_interval(successes, 100, confidence=0.95)
    wide = mean_interval(successes / 100, 100, confidence=0.95)
    assert wide.lower <= exact.lower + 1e-12
    assert wide.upper >= exact.upper - 1e-12
    assert wide.upper - wide.lower < 1.4 * (exact.upper - exact.lower)


@pytest.mark.parametrize("cells", [1, 5])
def test_it_covers_means_of_dependent_cells(cells: int) -> None:
    """Cells of one image that agree completely: the worst case, in which they are one coin."""
    generator = np.random.default_rng(0)
    missed = 0
    for _ in range(400):
        shares = (generator.random((50, 1)) < 0.8).repeat(cells, axis=1).mean(axis=1)
        interval = mean_interval(float(shares.mean()), 50, confidence=0.95)
        missed += not interval.lower <= 0.8 <= interval.upper
    assert missed <= 40


def test_a_whole_set_is_exact() -> None:
    whole = mean_interval(0.61, 20, confidence=0.95, population=20)
    assert (whole.lower, whole.upper, whole.method) == (0.61, 0.61, "exact mean")
    part = mean_interval(0.61, 20, confidence=0.95, population=21)
    assert part.lower < 0.61 < part.upper


@pytest.mark.parametrize(
    ("mean", "trials", "options"),
    [
        (1.01, 5, {}),
        (float("nan"), 5, {}),
        (0.5, 0, {}),
        (0.5, 5, {"population": 4}),
        (0.5, 5, {"confidence": 1.0}),
    ],
)
def test_what_has_no_interval_is_refused(mean: float, trials: int, options: dict) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        mean_interval(mean, trials, **{"confidence": 0.95, **options})
