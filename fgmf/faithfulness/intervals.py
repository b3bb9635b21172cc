"""Intervals for means of scores, whatever their scale: studentised bootstrap, exact at the ends.

all scores at the ends of their scale:  exact interval of a share, stretched over the scale
all scores the same:                    how often another score can stay unseen, exactly
else, for each of 20000 resamples:      t = (mean of resample - mean) / its standard error
    interval = mean - quantiles of t * standard error
    where so few scores differ that resamples are constant, Hoeffding's bound for the scale
a whole finite set:                     its mean

Nothing here draws by the run's seed: the same scores have the same interval.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from fgmf.corruption_accuracy.mean_interval import mean_interval
from fgmf.errors import InvalidInput
from fgmf.seeding import image_generator
from fgmf.statistics import binomial_interval, hypergeometric_interval
from fgmf.verdict import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Scale: TypeAlias = tuple[float, float]
"""Lowest and highest value that a score can have."""

RESAMPLES: Final = 20_000
"""They fix the ends of a 95 % interval to about half a hundredth of its length."""
FEWEST: Final = 10
"""Fewer images than this are no evidence, not even of themselves: maps and scores are drawn."""
_SEED: Final = 0
_NUMBERS_AT_ONCE: Final = 2_000_000
_ROUNDING: Final = 1e-9


def score_interval(
    values: Floats, *, confidence: float, scale: Scale | None, population: int | None = None
) -> Interval:
    """Bound the mean of the scores that images like these would have.

    Args:
        values: (n,) finite, one per image.
        confidence: Coverage asked for, between 0 and 1; each side may miss half of the rest.
        scale: Lowest and highest value that a score can have; None where it has no such bounds.
        population: Size of the set that the images were drawn from without replacement; None
            for a distribution.

    Returns:
        The interval, with its method.

    Raises:
        InvalidInput: Fewer than `FEWEST` images, a score that is not finite or outside of the
            scale, a confidence outside (0, 1), or scores without a scale that don't vary.

    Source: Efron and Tibshirani, "An introduction to the bootstrap" (1993), 12.5. Of a finite set
        the standard error shrinks by sqrt(1 - n / population).
    Randomness: none; resamples are the same for every set of as many scores.
    """
    return _bounded([values], [confidence], scale=scale, population=population)[0][0]


def smallest_mean_interval(
    rows: Sequence[Floats],
    *,
    confidence: float,
    scale: Scale | None,
    population: int | None = None,
) -> Interval:
    """Bound the smallest of several means over the same images.

    Args:
        rows: (n,) values of each, such as margins over each reference.
        confidence: Coverage asked for.
        scale: As for :func:`score_interval`, of all rows.
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
    pairs = _bounded(rows, [confidence, strict], scale=scale, population=population)
    lowest = min((usual for usual, _ in pairs), key=lambda interval: interval.lower)
    return replace(lowest, upper=min(upper.upper for _, upper in pairs))


def _bounded(
    rows: Sequence[Floats],
    confidences: Sequence[float],
    *,
    scale: Scale | None,
    population: int | None,
) -> list[list[Interval]]:
    """Intervals of each row at each confidence."""
    for row in rows:
        _check(row, scale)
    for confidence in confidences:
        if not 0.0 < confidence < 1.0:
            message = "expected a confidence between 0 and 1, like 0.95, got "
            raise InvalidInput(f"{message}{confidence!r}")
    statistics = _studentised(np.stack(rows))
    return [
        [_interval(row, t, at, scale=scale, population=population) for at in confidences]
        for row, t in zip(rows, statistics, strict=True)
    ]


def _check(values: Floats, scale: Scale | None) -> None:
    count = values.size
    if not count or not np.isfinite(values).all():
        raise InvalidInput(f"expected finite scores, got {count} with NaN or infinity among them")
    if count < FEWEST:
        message = f"expected at least {FEWEST} images, got {count}; add images: even a mean over "
        raise InvalidInput(f"{message}exactly these would be one of few draws of maps and scores")
    if scale is None:
        return
    slack = _ROUNDING * (scale[1] - scale[0])
    lowest, highest = float(values.min()), float(values.max())
    if lowest < scale[0] - slack or highest > scale[1] + slack:
        message = f"expected scores in [{scale[0]:g}, {scale[1]:g}], got [{lowest:g}, {highest:g}]"
        raise InvalidInput(message)


def _interval(
    values: Floats,
    statistics: Floats,
    confidence: float,
    *,
    scale: Scale | None,
    population: int | None,
) -> Interval:
    count, mean = values.size, float(values.mean())
    if population is not None and population <= count:
        return Interval(lower=mean, upper=mean, confidence=confidence, method="exact mean")
    if scale is not None and np.isin(values, scale).all():
        at_top = int((values == scale[1]).sum())
        return _stretched(_share(at_top, count, population, confidence), scale)
    deviation = float(values.std(ddof=1))
    if deviation <= _least(values):
        return _of_one_value(mean, _share(count, count, population, confidence), scale)
    tail = (1.0 - confidence) / 2.0
    ends = np.quantile(statistics, (tail, 1.0 - tail), method="inverted_cdf")
    low, high = (float(end) for end in ends)
    if not (math.isfinite(low) and math.isfinite(high)):
        return _of_few_values(mean, count, confidence, scale)
    shrink = 1.0 if population is None else math.sqrt(1.0 - count / population)
    error = deviation / math.sqrt(count) * shrink
    lowest, highest = (-math.inf, math.inf) if scale is None else scale
    return Interval(
        lower=max(mean - high * error, lowest),
        upper=min(mean - low * error, highest),
        confidence=confidence,
        method=f"bootstrap-t ({RESAMPLES})",
    )


def _share(successes: int, trials: int, population: int | None, confidence: float) -> Interval:
    if population is None:
        return binomial_interval(successes, trials, confidence=confidence)
    return hypergeometric_interval(successes, trials, population=population, confidence=confidence)


def _stretched(share: Interval, scale: Scale) -> Interval:
    """From a share of scores at the top of their scale to their mean."""
    low, width = scale[0], scale[1] - scale[0]
    return replace(share, lower=low + width * share.lower, upper=low + width * share.upper)


def _of_one_value(value: float, share: Interval, scale: Scale | None) -> Interval:
    """Every score is the same: at least `share.lower` of all are, and the rest is on the scale."""
    if scale is None:
        message = f"expected scores that vary, got {value:g} for each image; what another image "
        raise InvalidInput(f"{message}would have is unknown, for these scores have no bounds")
    rest = 1.0 - share.lower
    return replace(
        share,
        lower=value * share.lower + scale[0] * rest,
        upper=value * share.lower + scale[1] * rest,
        method=f"one value, {share.method}",
    )


def _of_few_values(mean: float, count: int, confidence: float, scale: Scale | None) -> Interval:
    """So few scores differ from the others that many resamples are constant."""
    if scale is None:
        message = f"expected scores that vary, got nearly the same of all {count} images"
        raise InvalidInput(f"{message}; add images, for these scores have no bounds")
    share = min(max((mean - scale[0]) / (scale[1] - scale[0]), 0.0), 1.0)
    return _stretched(mean_interval(share, count, confidence=confidence), scale)


def _least(values: Floats) -> float:
    """A deviation that is rounding alone."""
    return float(np.abs(values).max()) * 1e-12


def _studentised(rows: Floats) -> Floats:
    """Statistics (k, resamples) of rows (k, n), which share the resamples.

    Infinite where a resample varies by no more than a difference of two sums of squares shows.
    """
    count = rows.shape[1]
    generator = image_generator(_SEED, "resamples", count)
    centred = rows - rows.mean(axis=1, keepdims=True)
    least = 1e-12 * (centred**2).max(axis=1, keepdims=True)
    at_once = max(1, _NUMBERS_AT_ONCE // count)
    parts = []
    for start in range(0, RESAMPLES, at_once):
        size = min(at_once, RESAMPLES - start)
        drawn = generator.integers(count, size=(size, count))
        drawn += count * np.arange(size)[:, None]
        weight = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count) / count
        moved = centred @ weight.T
        variance = centred**2 @ weight.T - moved**2
        with np.errstate(divide="ignore", invalid="ignore"):
            t = moved * np.sqrt((count - 1) / variance)
            parts.append(np.where(variance > least, t, np.sign(moved) * np.inf))
    found: Floats = np.concatenate(parts, axis=1)
    return np.where(np.isnan(found), 0.0, found)
