"""How fast files are, compared so that noise cannot pass for a difference.

    runners = each file, and the first one a second time (A/A control)
    for each round: all runners in a new random order; each warmed, then CPU time of `repeats` calls
    ratio   = median over rounds of (time of the first / time of the other), with an interval
    noise   = the same of the control: a difference that is not outside of it is none

Only ratios of one run mean anything; CPU time, so that other processes count less. One thread.
"""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_CONTROL = "A/A control"


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How fast one file is.

    Attributes:
        microseconds: Median CPU time of one call.
        speedup: Median over rounds of the first file's time over this one's.
        lower: Of the middle 90 % of the rounds.
        upper: And its other end.
    """

    microseconds: float
    speedup: float
    lower: float
    upper: float


@dataclass(frozen=True, kw_only=True)
class LatencyReport:
    """What was measured in one run.

    Attributes:
        timings: By name; the first file is the one that all are compared with.
        control: The first file against a second copy of itself.
        rounds: How often everything was measured.
        repeats: Calls per measurement.
    """

    timings: Mapping[str, Timing]
    control: Timing
    rounds: int
    repeats: int

    @property
    def noise(self) -> float:
        """How far the ratio of a file to itself is from 1."""
        return max(self.control.upper, 1.0 / self.control.lower) - 1.0

    def is_resolved(self, name: str) -> bool:
        """Whether a file's speed-up is outside of what a file shows against itself."""
        speedup = self.timings[name].speedup
        return max(speedup, 1.0 / speedup) - 1.0 > self.noise


def measure_latency(
    make: Mapping[str, Callable[[], Callable[[], object]]],
    *,
    rounds: int = 31,
    repeats: int = 20,
    seed: int = 0,
) -> LatencyReport:
    """Time several ways to do the same.

    Args:
        make: By name, returns a new runner: a function that makes one call. The first is what the
            others are compared with, and it is made twice.
        rounds: How often all are measured.
        repeats: Calls per measurement.
        seed: Of the order within each round.

    Raises:
        InvalidInput: Nothing to time, a name that is taken, or too few rounds.
    """
    if not make or _CONTROL in make or rounds < 5 or repeats < 1:
        message = "expected at least one file, rounds >= 5 and repeats >= 1"
        raise InvalidInput(f"{message}, got {list(make)}, {rounds}, {repeats}")
    first = next(iter(make))
    runners = {name: build() for name, build in make.items()} | {_CONTROL: make[first]()}
    times: dict[str, list[float]] = {name: [] for name in runners}
    order, draws = list(runners), random.Random(seed)  # noqa: S311 - an order, no secret
    for _ in range(rounds):
        draws.shuffle(order)
        for name in order:
            times[name].append(_timed(runners[name], repeats))
    timings = {name: _compared(times[first], taken) for name, taken in times.items()}
    control = timings.pop(_CONTROL)
    return LatencyReport(timings=timings, control=control, rounds=rounds, repeats=repeats)


def _timed(run: Callable[[], object], repeats: int) -> float:
    run()
    run()
    started = time.process_time_ns()
    for _ in range(repeats):
        run()
    return max(1.0, time.process_time_ns() - started) / repeats / 1000.0


def _compared(first: list[float], taken: list[float]) -> Timing:
    ratios = sorted(one / other for one, other in zip(first, taken, strict=True))
    cut = len(ratios) // 20
    return Timing(
        microseconds=statistics.median(taken),
        speedup=statistics.median(ratios),
        lower=ratios[cut],
        upper=ratios[-1 - cut],
    )
