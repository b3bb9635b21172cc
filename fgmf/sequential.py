"""Confidence sequences: intervals of a share that stay valid however often one looks.

A fixed-n interval may be looked at once. Here every candidate share p is tested by a wager that
starts at 1 and is fair if p is true (a non-negative martingale); by Ville's inequality it ever
reaches 1/alpha with probability at most alpha = 1 - confidence. The candidates whose wager never
did are the confidence sequence, which can only shrink:

    M_n(p) = 1 / ((n + 1) P_p(s successes among n))        # beta-binomial mixture, uniform prior
    p is excluded for good once M_n(p) >= 1 / alpha

With a `threshold` and a `horizon` m (the images that a gate plans for), half of the stake goes on
the fixed-n exact test of the threshold at m, on the side where an error would be a wrong verdict:

    C_n = P_threshold(the exact test at m rejects, at alpha / 2 | s successes among n)
    the far side of the threshold is excluded once   C_n + alpha/2 * M_n(threshold) >= 1
    any other p is excluded once                     M_n(p) >= 2 / alpha

So at m it decides whenever the fixed-n interval of the same confidence would, and usually sooner.
The price: a wrong verdict has probability at most alpha instead of alpha / 2. C_n / (alpha / 2)
is a supermartingale under every share on the far side, because C_n is monotone in s.

Source: Robbins (1970) for the mixture; Howard, Ramdas, McAuliffe and Sekhon (2021) for confidence
    sequences; Waudby-Smith and Ramdas (2020), "Confidence sequences for sampling without
    replacement", whose prior-posterior ratio with a uniform prior is M_n for a finite set;
    Waudby-Smith and Ramdas (2024) for tests as wagers. The split with the fixed-n test is our own
    choice of wager, valid by the same inequality.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from fgmf.errors import InvalidInput
from fgmf.statistics import ROUNDING, compare_to_threshold, hypergeometric_tail
from fgmf.verdict import Interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fgmf.verdict import Outcome

GRID: Final = 10_000
"""Bounds on the share of a distribution are rounded outwards to multiples of 1 / GRID."""

_OPEN: Final = 1e-11
"""An interval that ends below the threshold ends this far below it."""
_SLACK: Final = 1e-9
"""Rounding in a sum of probabilities may only delay a decision."""
_LARGEST_EXPONENT: Final = 700.0
"""Just below where exp overflows."""


class ConfidenceSequence:
    """Interval of a share, updated outcome by outcome; stateful: one object per measurement.

    Args:
        population_size: Size of the set that outcomes are drawn from at random without
            replacement (the share is that of the whole set); None where they are independent
            draws from a distribution.
        confidence: Probability that the interval covers the true share after *every* outcome.
        threshold: Share at which a decision is wanted early; the interval covers any share
            either way. None favours no share.
        horizon: Number of outcomes that are planned. More and fewer are allowed. It has an
            effect only with a threshold, and below `population_size`.

    Raises:
        InvalidInput: A share outside its range, or a size or horizon below one.

    Randomness: none; the same outcomes give the same interval, however they are split over
        calls. The order of a finite set must be drawn at random by the caller.
    Cost: about 10 microseconds per outcome; close to a decision, one tail sum more.
    """

    def __init__(
        self,
        *,
        population_size: int | None,
        confidence: float,
        threshold: float | None = None,
        horizon: int | None = None,
    ) -> None:
        if not 0.0 < confidence < 1.0:
            raise InvalidInput(f"expected a confidence between 0 and 1, got {confidence!r}")
        if threshold is not None and not 0.0 <= threshold <= 1.0:
            raise InvalidInput(f"expected threshold as a share from 0 to 1, got {threshold!r}")
        for name, number in (("population_size", population_size), ("horizon", horizon)):
            if number is not None and number < 1:
                raise InvalidInput(f"expected {name} of at least one image, got {number}")
        self.population_size = population_size
        self.confidence = confidence
        self.threshold = threshold
        self.horizon = horizon
        self.trials = 0
        self.successes = 0
        law = _Draws() if population_size is None else _FiniteSet(population_size)
        self._law: _Law = law
        self._lowest, self._highest = 0, law.last
        self._lower, self._upper = 0.0, 1.0
        self._stakes = self._place_stakes()
        self._needed = math.log((2.0 if self._stakes else 1.0) / (1.0 - confidence))

    def __repr__(self) -> str:
        """Return the call that makes an equal sequence without outcomes."""
        return (
            f"ConfidenceSequence(population_size={self.population_size}, "
            f"confidence={self.confidence}, threshold={self.threshold}, horizon={self.horizon})"
        )

    @property
    def interval(self) -> Interval:
        """Where the share lies after the outcomes so far: [0, 1] after none."""
        if self.trials == self.population_size:
            share = self.successes / self.trials
            return Interval(
                lower=share, upper=share, confidence=self.confidence, method="exact count"
            )
        return Interval(
            lower=self._lower,
            upper=self._upper,
            confidence=self.confidence,
            method=self._law.method,
        )

    def update(self, outcomes: Iterable[bool]) -> Interval:
        """Take more outcomes, in the order in which they were drawn, and look after each.

        Args:
            outcomes: True for each success. Booleans of Python, NumPy or torch.

        Returns:
            The interval after the last of them: inside every earlier one, and exact once the
            whole set was drawn.

        Raises:
            InvalidInput: Something else than booleans, or more outcomes than the set has
                members; nothing is taken then.
        """
        checked = [_boolean(outcome) for outcome in outcomes]
        total = self.trials + len(checked)
        if self.population_size is not None and total > self.population_size:
            message = f"expected at most the {self.population_size} outcomes of the set"
            raise InvalidInput(f"{message}, got {total}; no image may be counted twice")
        for success in checked:
            self.trials += 1
            self.successes += success
            self._exclude()
        return self.interval

    def decide(self, threshold: float) -> Outcome:
        """Judge the interval so far against a threshold, which may be any.

        Returns:
            PASS if the whole interval is at or above it, FAIL if all of it is below, else
            INCONCLUSIVE. Each wrong answer has probability at most 1 - confidence over all looks
            together.

        Raises:
            InvalidInput: The threshold is no share.
        """
        return compare_to_threshold(self.interval, threshold)

    def _exclude(self) -> None:
        """Drop the candidates that are excluded now, from both ends."""
        law, s, n = self._law, self.successes, self.trials
        # M_n(p) >= needed, solved for the probability of what was seen.
        least = -self._needed - math.log(n + 1)
        # That probability rises up to the share s / n and falls after it, so what is excluded lies
        # at the ends. One candidate stays, also in the unlikely runs that would exclude all.
        low, high, seen = self._lowest, self._highest, s * law.last
        most = min(-(-seen // n), high) - low
        low += _leading(lambda i: law.log_mass(low + i, s, n) <= least, most)
        most = high - max(seen // n, low)
        high -= _leading(lambda i: law.log_mass(high - i, s, n) <= least, most)
        self._lowest, self._highest = low, high
        self._narrow(law.lower(low), law.upper(high))
        for stake in self._stakes:
            if stake.wins(s, n):
                self._narrow(stake.lower, stake.upper)

    def _narrow(self, lower: float, upper: float) -> None:
        """Intersect; what would leave nothing, as only a run that misleads can, is left out."""
        lower, upper = max(lower, self._lower), min(upper, self._upper)
        if lower <= upper:
            self._lower, self._upper = lower, upper

    def _place_stakes(self) -> tuple[_Stake, ...]:
        """Bet on the exact test at the horizon, against either side of the threshold."""
        size, threshold, horizon = self.population_size, self.threshold, self.horizon
        if threshold is None or horizon is None or not 0.0 < threshold < 1.0:
            return ()
        if size is not None and horizon >= size:
            return ()
        law, tail = self._law, (1.0 - self.confidence) / 2.0
        if size is None:
            failing = passing = threshold * GRID
            reached, missed = threshold, threshold - _OPEN
        else:
            # The fewest successes in the set whose share counts as the threshold.
            passing = math.ceil((threshold - ROUNDING) * size)
            failing = passing - 1
            reached, missed = passing / size, failing / size
        above = _Stake.on(law, failing, horizon=horizon, tail=tail, interval=(reached, 1.0))
        # The same bet on failures, against all shares from the threshold up.
        mirror = law.last - passing
        below = _Stake.on(law, mirror, horizon=horizon, tail=tail, interval=(0.0, missed))
        return above, replace(below, counts_failures=True)


class _Law(Protocol):
    """Probability of s successes among n under a candidate c, whose share is c / last."""

    method: str
    last: int

    def log_mass(self, candidate: float, s: int, n: int) -> float:
        """Logarithm of the probability of s successes among n."""

    def chance(self, candidate: float, s: int, n: int, *, goal: int, horizon: int) -> float:
        """Probability of at least `goal` successes at the horizon, given s among n."""

    def lower(self, lowest: int) -> float:
        """Lower bound where `lowest` is the first candidate that is not excluded."""

    def upper(self, highest: int) -> float:
        """Upper bound where `highest` is the last candidate that is not excluded."""


class _Draws:
    """Independent draws: every share is possible, the candidates are a grid of them."""

    method = "anytime-valid beta-binomial"
    last = GRID

    def log_mass(self, candidate: float, s: int, n: int) -> float:
        ways = _log_choose(n, s)
        share, rest = candidate / GRID, (GRID - candidate) / GRID
        return ways + _times_log(s, share) + _times_log(n - s, rest)

    def chance(self, candidate: float, s: int, n: int, *, goal: int, horizon: int) -> float:
        from scipy.special import bdtrc

        return 1.0 if s >= goal else float(bdtrc(goal - s - 1, horizon - n, candidate / GRID))

    def lower(self, lowest: int) -> float:
        return max(0, lowest - 1) / GRID

    def upper(self, highest: int) -> float:
        return min(GRID, highest + 1) / GRID


class _FiniteSet:
    """Draws without replacement: a candidate is a whole number of successes in the set."""

    method = "anytime-valid hypergeometric"

    def __init__(self, size: int) -> None:
        self.last = size

    def log_mass(self, candidate: float, s: int, n: int) -> float:
        total, size = int(candidate), self.last
        if s > total or n - s > size - total:
            return -math.inf
        ways = _log_choose(total, s) + _log_choose(size - total, n - s)
        return ways - _log_choose(size, n)

    def chance(self, candidate: float, s: int, n: int, *, goal: int, horizon: int) -> float:
        total, size = int(candidate) - s, self.last - n
        if total < 0:  # what was seen is impossible under the candidate
            return 1.0
        return hypergeometric_tail(goal - s, horizon - n, total, size)

    def lower(self, lowest: int) -> float:
        return lowest / self.last

    def upper(self, highest: int) -> float:
        return highest / self.last


@dataclass(frozen=True, kw_only=True)
class _Stake:
    """A bet against every candidate up to `null`, half of it on the exact test at the horizon.

    Attributes:
        law: Where the probabilities come from.
        null: The candidate that is hardest to exclude.
        goal: Number of successes at the horizon from which on the exact test rejects.
        horizon: Number of outcomes at which that test is held.
        tail: Its level, alpha / 2.
        lower: Lower end of the shares that remain once the bet is won.
        upper: Upper end of them.
        counts_failures: Failures are what is counted, and what `null` is a number of.
    """

    law: _Law
    null: float
    goal: int
    horizon: int
    tail: float
    lower: float
    upper: float
    counts_failures: bool = False

    @classmethod
    def on(
        cls, law: _Law, null: float, *, horizon: int, tail: float, interval: tuple[float, float]
    ) -> _Stake:
        """Place a bet: find where the exact test rejects."""
        low, high = 0, horizon + 1
        while low < high:
            middle = (low + high) // 2
            rejects = law.chance(null, 0, 0, goal=middle, horizon=horizon) <= tail * (1 - _SLACK)
            low, high = (low, middle) if rejects else (middle + 1, high)
        lower, upper = interval
        return cls(
            law=law, null=null, goal=low, horizon=horizon, tail=tail, lower=lower, upper=upper
        )

    def wins(self, successes: int, n: int) -> bool:
        """Whether these counts exclude every candidate up to `null`."""
        s = n - successes if self.counts_failures else successes
        if n <= self.horizon and s >= self.goal:
            return True
        if self.null * n >= s * self.law.last:
            return False
        log_mixture = -math.log(n + 1) - self.law.log_mass(self.null, s, n)
        missing = 1.0 - self.tail * math.exp(min(log_mixture, _LARGEST_EXPONENT))
        if missing <= 0.0:
            return True
        if n >= self.horizon or self._bound(s, n) < missing:
            return False
        chance = self.law.chance(self.null, s, n, goal=self.goal, horizon=self.horizon)
        return chance >= missing + _SLACK

    def _bound(self, s: int, n: int) -> float:
        """Hoeffding's bound on the chance, which spares most tail sums (it holds for both laws)."""
        left = self.horizon - n
        # Seen more often than the null expects, so that it expects less from the rest.
        short = self.goal - s - left * self.null / self.law.last
        return math.exp(-2.0 * short * short / left) if short > 0.0 else 1.0


def _leading(holds: Callable[[int], bool], most: int) -> int:
    """Return for how many of 0, 1, ... `holds` is true before it is false, at most `most`."""
    count, step = 0, 1
    while count + step <= most and holds(count + step - 1):
        count += step
        step *= 2
    while step > 1:
        step //= 2
        if count + step <= most and holds(count + step - 1):
            count += step
    return count


def _boolean(outcome: object) -> bool:
    value = outcome.item() if hasattr(outcome, "item") else outcome
    if not isinstance(value, bool):
        raise InvalidInput(f"expected outcomes as booleans, got {outcome!r}")
    return value


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _times_log(count: int, share: float) -> float:
    """Return count * log(share), where nothing times log(0) is nothing."""
    if not count:
        return 0.0
    return count * math.log(share) if share > 0.0 else -math.inf
