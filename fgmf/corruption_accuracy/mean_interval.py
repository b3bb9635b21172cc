"""An interval for the mean of values between 0 and 1 that are not only 0 and 1.

An image is right under some of its corruptions and wrong under others: its share is one value in
[0, 1], and the corruptions of one image are not independent. Counting every corrupted image as a
trial of its own would make the interval too short by up to the square root of their number.
"""

from __future__ import annotations

import math

from fgmf.errors import InvalidInput
from fgmf.verdict import Interval

_STEPS = 100


def mean_interval(
    mean: float, trials: int, *, confidence: float, population: int | None = None
) -> Interval:
    """Bound the mean of a distribution on [0, 1], or of a finite set of such values.

    Args:
        mean: Of the sample.
        trials: Values in the sample, at least one.
        confidence: Coverage asked for, between 0 and 1; each side may miss half of the rest.
        population: Size of the set that the sample was drawn from without replacement; None for
            a distribution.

    Returns:
        Every p with trials * KL(mean, p) <= log(2 / (1 - confidence)), where KL is the relative
        entropy of two coins. It covers the true mean with at least `confidence` whatever the
        distribution is; for values that vary less than a coin it is longer than need be. The
        exact point where the whole set was drawn.

    Raises:
        InvalidInput: A mean or confidence outside its range, no trials, a population smaller
            than the trials.

    Source: Hoeffding (1963), Theorem 1; section 6 for sampling without replacement.
    Cost: two bisections.
    """
    if not 0.0 <= mean <= 1.0:
        raise InvalidInput(f"expected a mean between 0 and 1, got {mean!r}")
    if not 0.0 < confidence < 1.0:
        raise InvalidInput(f"expected a confidence between 0 and 1, like 0.95, got {confidence!r}")
    if trials < 1 or (population is not None and population < trials):
        message = "expected at least one trial and no more than the population, got"
        raise InvalidInput(f"{message} {trials} trials of {population}")
    if population == trials:
        return Interval(lower=mean, upper=mean, confidence=confidence, method="exact mean")
    limit = math.log(2.0 / (1.0 - confidence)) / trials
    return Interval(
        lower=_furthest(mean, 0.0, limit),
        upper=_furthest(mean, 1.0, limit),
        confidence=confidence,
        method="Chernoff-Hoeffding",
    )


def _furthest(mean: float, end: float, limit: float) -> float:
    """The value between the mean and `end` whose relative entropy reaches the limit."""
    inside, outside = mean, end
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        if _relative_entropy(mean, middle) <= limit:
            inside = middle
        else:
            outside = middle
    return outside


def _relative_entropy(q: float, p: float) -> float:
    if q == p:
        return 0.0
    if p <= 0.0 or p >= 1.0:
        return math.inf
    heads = q * math.log(q / p) if q > 0.0 else 0.0
    tails = (1 - q) * math.log((1 - q) / (1 - p)) if q < 1.0 else 0.0
    return heads + tails
