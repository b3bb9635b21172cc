"""Intervals for means of scores, whatever their scale: studentised bootstrap, exact for 0 and 1.

for each of 4000 resamples of the images:  t = (mean of resample - mean) / its standard error
interval = mean - quantiles of t * standard error

Scores of 0 and 1 alone get the exact interval of a share; a whole finite set its exact mean.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from fgmf.errors import InvalidInput
from fgmf.seeding import image_generator
from fgmf.statistics import binomial_interval, hypergeometric_interval
from fgmf.verdict import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

RESAMPLES: Final = 4000
FEWEST: Final = 10
"""Fewer images than this have no interval: resampling them says nothing."""
_NUMBERS_AT_ONCE: Final = 2_000_000


def score_interval(
    values: Floats,
    *,
    confidence: float,
    seed: int,
    population: int | None = None,
    shares: bool = True,
) -> Interval:
    """Bound the mean of the scores that images like these would have.

    Args:
        values: (n,) finite, one per image.
        confidence: Coverage asked for, between 0 and 1; each side may miss half of the rest.
        seed: Fixes the resamples.
        population: Size of the set that the images were drawn from without replacement; None
            for a distribution.
        shares: Scores that are all 0 or 1 are counted; margins can be -1, too, and are not.

    Returns:
        The interval, with its method. Where every score is the same but not 0 or 1 it is a point.

    Raises:
        InvalidInput: Fewer than `FEWEST` images where these are not the whole set, a score that
            is not finite, or a confidence outside (0, 1).

    Source: Efron and Tibshirani, "An introduction to the bootstrap" (1993), 12.5. Of a finite set
        the standard error shrinks by sqrt(1 - n / population).
    Randomness: `seed`.
    """
    count = values.size
    if not count or not np.isfinite(values).all():
        raise InvalidInput(f"expected finite scores, got {count} with NaN or infinity among them")
    if not 0.0 < confidence < 1.0:
        raise InvalidInput(f"expected a confidence between 0 and 1, like 0.95, got {confidence!r}")
    mean = float(values.mean())
    if population is not None and population <= count:
        return Interval(lower=mean, upper=mean, confidence=confidence, method="exact mean")
    if shares and np.isin(values, (0.0, 1.0)).all():
        ones = int(values.sum())
        if population is None:
            return binomial_interval(ones, count, confidence=confidence)
        return hypergeometric_interval(ones, count, population=population, confidence=confidence)
    if count < FEWEST:
        message = f"expected at least {FEWEST} images for an interval, got {count}"
        raise InvalidInput(f'{message}; add images, or judge exactly these: population = "dataset"')
    return _bootstrapped(values, confidence=confidence, seed=seed, population=population)


def smallest_mean_interval(
    rows: Sequence[Floats], *, confidence: float, seed: int, population: int | None = None
) -> Interval:
    """Bound the smallest of several means over the same images.

    Args:
        rows: (n,) values of each, such as margins over each reference.
        confidence: Coverage asked for.
        seed: Fixes the resamples, which all rows share.
        population: As for :func:`score_interval`.

    Returns:
        From the smallest lower end, at `confidence`, to the smallest upper end, at the stricter
        confidence that the number of rows asks for. It covers the smallest true mean with at least
        `confidence` where the intervals of the rows do: the smallest mean is no lower than the
        lower end of its own row, and above the smallest upper end only where one row's is too low.

    Raises:
        InvalidInput: No rows, or as for :func:`score_interval`.
    """
    if not rows:
        raise InvalidInput("expected at least one row of values, got none")
    strict = 1.0 - (1.0 - confidence) / len(rows)

    def bounded(at: float) -> list[Interval]:
        return [
            score_interval(row, confidence=at, seed=seed, population=population, shares=False)
            for row in rows
        ]

    lower, upper = bounded(confidence), bounded(strict)
    lowest = min(lower, key=lambda interval: interval.lower)
    return Interval(
        lower=lowest.lower,
        upper=min(interval.upper for interval in upper),
        confidence=confidence,
        method=lowest.method,
    )


def _bootstrapped(
    values: Floats, *, confidence: float, seed: int, population: int | None
) -> Interval:
    count = values.size
    mean, deviation = float(values.mean()), float(values.std(ddof=1))
    shrink = 1.0 if population is None else math.sqrt(1.0 - count / population)
    error = deviation / math.sqrt(count) * shrink
    spread = float(np.abs(values).max()) * 1e-12
    if error <= spread:
        return Interval(lower=mean, upper=mean, confidence=confidence, method="one value")
    statistics = _studentised(values, seed=seed, least=spread)
    tail = (1.0 - confidence) / 2.0
    ends = np.quantile(statistics, (tail, 1.0 - tail), method="inverted_cdf")
    low, high = (float(end) for end in ends)
    method = f"bootstrap-t ({RESAMPLES})"
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = _student(tail, count - 1)
        method = "Student's t"
    return Interval(
        lower=mean - high * error,
        upper=mean - low * error,
        confidence=confidence,
        method=method,
    )


def _studentised(values: Floats, *, seed: int, least: float) -> Floats:
    """The statistic of every resample; infinite where it varies by no more than rounding."""
    generator = image_generator(seed, "resamples", values.size)
    count, mean = values.size, values.mean()
    at_once = max(1, _NUMBERS_AT_ONCE // count)
    parts = []
    for start in range(0, RESAMPLES, at_once):
        rows = generator.integers(count, size=(min(at_once, RESAMPLES - start), count))
        drawn = values[rows]
        moved = drawn.mean(axis=1) - mean
        errors = drawn.std(axis=1, ddof=1) / math.sqrt(count)
        with np.errstate(divide="ignore", invalid="ignore"):
            parts.append(np.where(errors > least, moved / errors, np.sign(moved) * np.inf))
    found: Floats = np.concatenate(parts)
    return np.where(np.isnan(found), 0.0, found)


def _student(tail: float, freedom: int) -> tuple[float, float]:
    from scipy.stats import t

    high = float(t.isf(tail, freedom))
    return -high, high
