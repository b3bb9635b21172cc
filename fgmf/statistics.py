"""Exact statistics for shares: intervals, thresholds, paired change, stratified samples.

Pure functions on whole numbers. No normal approximation anywhere: a gate's promise (at least
`confidence` coverage) must hold for ten images as well as for ten thousand.

    lower, upper = exact interval of successes / trials       # binomial or hypergeometric
    PASS          if lower >= threshold
    FAIL          if upper <  threshold
    INCONCLUSIVE  otherwise
"""

from __future__ import annotations

import math
import operator
from dataclasses import replace
from typing import TYPE_CHECKING

from fgmf.errors import InvalidInput
from fgmf.verdict import Condition, Interval, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.types import Direction

ROUNDING = 1e-12
"""Two shares closer than this are the same number, written down by different sums."""


def binomial_interval(successes: int, trials: int, *, confidence: float) -> Interval:
    """Return the exact interval of a share when the trials are a sample of a distribution.

    Args:
        successes: How many trials succeeded.
        trials: How many there were, at least one.
        confidence: Coverage asked for, between 0 and 1; each side may miss half of the rest.

    Returns:
        The Clopper-Pearson interval: it covers the true share with at least `confidence`.

    Raises:
        InvalidInput: No trials, impossible counts, or a confidence outside (0, 1).

    Source: Clopper and Pearson (1934), by quantiles of the beta distribution.
    """
    from scipy.stats import beta

    successes, trials = _counts(successes, trials)
    tail = (1.0 - _confidence(confidence)) / 2.0
    failures = trials - successes
    lower = float(beta.ppf(tail, successes, failures + 1)) if successes else 0.0
    upper = float(beta.isf(tail, successes + 1, failures)) if failures else 1.0
    return Interval(lower=lower, upper=upper, confidence=confidence, method="Clopper-Pearson")


def hypergeometric_interval(
    successes: int, trials: int, *, population: int, confidence: float
) -> Interval:
    """Return the exact interval of a share of a finite set, part of which was drawn.

    Args:
        successes: How many of the drawn members succeeded.
        trials: How many members were drawn, without replacement, at least one.
        population: Size of the whole set.
        confidence: Coverage asked for, between 0 and 1.

    Returns:
        Bounds on the share of successes in the whole set, both multiples of 1/population. The
        exact point where the whole set was drawn.

    Raises:
        InvalidInput: No trials, impossible counts, a population smaller than the trials, or a
            confidence outside (0, 1).

    Source: both tails of the hypergeometric distribution inverted over the whole number of
        successes in the set, each at (1 - confidence) / 2.
    Cost: two bisections, about 2 log2(population) tail sums of at most `trials` terms.
    """
    successes, trials = _counts(successes, trials)
    population = _whole("population", population)
    tail = (1.0 - _confidence(confidence)) / 2.0
    if population < trials:
        message = f"expected a population of at least the {trials} trials, got {population}"
        raise InvalidInput(message)
    if population == trials:
        share = successes / trials
        return Interval(lower=share, upper=share, confidence=confidence, method="exact count")
    fewest, most = successes, population - (trials - successes)
    # Rounding in a tail sum may only widen the interval.
    tail *= 1.0 - 1e-9

    def enough(total: int) -> bool:
        return hypergeometric_tail(successes, trials, total, population) > tail

    def too_many(total: int) -> bool:
        failures = trials - successes
        return hypergeometric_tail(failures, trials, population - total, population) <= tail

    lowest = _first(enough, fewest, most)
    highest = _first(too_many, lowest, most + 1) - 1
    return Interval(
        lower=lowest / population,
        upper=highest / population,
        confidence=confidence,
        method="hypergeometric",
    )


def compare_to_threshold(interval: Interval, threshold: float) -> Outcome:
    """Judge an interval against the lowest accepted value.

    Args:
        interval: Where the true share lies.
        threshold: Lowest accepted share.

    Returns:
        PASS if the whole interval is at or above the threshold, FAIL if the whole of it is
        below, else INCONCLUSIVE. Differences up to `ROUNDING` count as equal.

    Raises:
        InvalidInput: A share is NaN or outside [0, 1], or the bounds are in the wrong order.
    """
    values = {"lower": interval.lower, "upper": interval.upper, "threshold": threshold}
    for name, value in values.items():
        if not 0.0 <= value <= 1.0:
            raise InvalidInput(f"expected {name} as a share between 0 and 1, got {value!r}")
    return compare_to_limit(interval, threshold)


def compare_to_limit(
    interval: Interval, limit: float, *, direction: Direction = "at-least"
) -> Outcome:
    """Judge the interval of any quantity against the lowest or the highest accepted value.

    Args:
        interval: Where the true value lies; any finite numbers.
        limit: The lowest accepted value, or the highest.
        direction: Which of the two.

    Returns:
        PASS if the whole interval is on the accepted side or at the limit, FAIL if the whole of
        it is on the other side, else INCONCLUSIVE. Differences up to `ROUNDING` count as equal.

    Raises:
        InvalidInput: A number is not finite, or the bounds are in the wrong order.
    """
    for name, value in {"lower": interval.lower, "upper": interval.upper, "limit": limit}.items():
        if not math.isfinite(value):
            raise InvalidInput(f"expected {name} as a finite number, got {value!r}")
    if interval.lower > interval.upper:
        message = f"expected lower <= upper, got [{interval.lower!r}, {interval.upper!r}]"
        raise InvalidInput(message)
    worst, best = interval.lower - limit, interval.upper - limit
    if direction == "at-most":
        worst, best = -best, -worst
    if worst >= -ROUNDING:
        return Outcome.PASS
    return Outcome.FAIL if best < -ROUNDING else Outcome.INCONCLUSIVE


def judge_share(  # noqa: PLR0913 - one condition has seven parts
    quantity: str,
    successes: int,
    trials: int,
    *,
    threshold: float,
    confidence: float,
    population_size: int | None = None,
    subject: str = "",
) -> Condition:
    """Judge a counted share against a threshold.

    Args:
        quantity: Name of the share, such as ``robust_accuracy``.
        successes: How many trials succeeded.
        trials: How many there were, at least one.
        threshold: Lowest accepted share.
        confidence: Coverage of the interval.
        population_size: Size of the set that the verdict is about; None for a distribution.
        subject: What the share is about, where there are several.

    Returns:
        The condition with its exact interval and outcome.

    Raises:
        InvalidInput: As for the intervals and :func:`compare_to_threshold`; zero trials are no
            evidence, so they are refused here and never judged.
    """
    if population_size is None:
        interval = binomial_interval(successes, trials, confidence=confidence)
    else:
        interval = hypergeometric_interval(
            successes, trials, population=population_size, confidence=confidence
        )
    return Condition(
        quantity=quantity,
        measured=int(successes) / int(trials),
        interval=interval,
        threshold=threshold,
        outcome=compare_to_threshold(interval, threshold),
        subject=subject,
    )


def judge_open_share(  # noqa: PLR0913 - as above
    quantity: str,
    most: int,
    fewest: int,
    trials: int,
    *,
    threshold: float,
    confidence: float,
    population_size: int | None = None,
) -> Condition:
    """Judge a share of which only bounds are counted, because some trials are undecided.

    Args:
        quantity: Name of the share.
        most: Successes if every undecided trial is one.
        fewest: Successes if none is.
        trials: How many there were, undecided ones included.
        threshold: Lowest accepted share.
        confidence: Coverage of the interval.
        population_size: As for :func:`judge_share`.

    Returns:
        The condition of `most` where nothing is undecided, or where even `most` is too few;
        else INCONCLUSIVE, with an interval that holds those of both counts.

    Raises:
        InvalidInput: As for :func:`judge_share`.
    """

    def judged(successes: int) -> Condition:
        return judge_share(
            quantity,
            successes,
            trials,
            threshold=threshold,
            confidence=confidence,
            population_size=population_size,
        )

    best = judged(most)
    return best if most == fewest else between_conditions(best, judged(fewest))


def between_conditions(best: Condition, worst: Condition) -> Condition:
    """Join what holds if every undecided trial succeeds with what holds if none does.

    Args:
        best: Judged with all undecided trials as successes.
        worst: Judged with none.

    Returns:
        `best` where it is a FAIL, for then nothing can help; else INCONCLUSIVE, with an interval
        that holds both. Undecided trials never make a PASS.
    """
    if best.outcome is Outcome.FAIL:
        return best
    interval = None
    if best.interval is not None and worst.interval is not None:
        interval = replace(best.interval, lower=worst.interval.lower)
    return replace(best, measured=None, interval=interval, outcome=Outcome.INCONCLUSIVE)


def mcnemar_exact(newly_broken: int, newly_fixed: int) -> float:
    """Return the p-value of a change between two runs on the same images.

    Args:
        newly_broken: Images that were right before and are wrong now.
        newly_fixed: Images that were wrong before and are right now.

    Returns:
        Two-sided p-value of "a changed image is as likely to break as to be fixed"; 1.0 where
        no image changed.

    Raises:
        InvalidInput: A count is negative or no whole number.

    Source: McNemar (1947), exact binomial form.
    """
    from scipy.stats import binom

    fewer, more = sorted((_whole("newly_broken", newly_broken), _whole("newly_fixed", newly_fixed)))
    if fewer == more:
        return 1.0
    return min(1.0, 2.0 * float(binom.cdf(fewer, fewer + more, 0.5)))


def hypergeometric_tail(successes: int, trials: int, total: int, population: int) -> float:
    """Return P(X >= successes) where `trials` of a set with `total` successes are drawn.

    Args:
        successes: Smallest count that is meant; any whole number.
        trials: Members drawn without replacement.
        total: Successes in the set.
        population: Size of the set.

    Returns:
        The probability, to about 1e-12 of itself or better.

    Cost: one vector operation over the possible counts.
    """
    import numpy as np

    fewest, most = max(0, trials - (population - total)), min(trials, total)
    if successes <= fewest:
        return 1.0
    if successes > most:
        return 0.0
    k = np.arange(fewest, most, dtype=np.float64)
    # log of P(k + 1) / P(k); no factorials, hence no cancellation.
    steps = np.log((total - k) * (trials - k))
    steps -= np.log((k + 1) * (population - total - trials + k + 1))
    logs = np.concatenate(([0.0], np.cumsum(steps)))
    weights = np.exp(logs - logs.max())
    return float(weights[successes - fewest :].sum() / weights.sum())


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """Smallest number in [low, high) for which `holds`, which stays true; else `high`."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def _whole(name: str, value: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise InvalidInput(f"expected {name} as a whole number, got {value!r}") from None
    if number < 0:
        raise InvalidInput(f"expected {name} >= 0, got {number}")
    return number


def _counts(successes: int, trials: int) -> tuple[int, int]:
    successes, trials = _whole("successes", successes), _whole("trials", trials)
    if trials == 0:
        raise InvalidInput("expected at least one trial, got 0: no images, no share")
    if successes > trials:
        raise InvalidInput(f"expected at most {trials} successes in {trials}, got {successes}")
    return successes, trials


def _confidence(value: float) -> float:
    if not (math.isfinite(value) and 0.0 < value < 1.0):
        raise InvalidInput(f"expected a confidence between 0 and 1, like 0.95, got {value!r}")
    return float(value)
