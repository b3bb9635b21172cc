"""Timings: what is slower is seen to be slower, and what is the same is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fgmf.errors import InvalidInput
from fgmf.export.latency import LatencyReport, Timing, measure_latency

if TYPE_CHECKING:
    from collections.abc import Callable


def _work(amount: int) -> Callable[[], Callable[[], object]]:
    return lambda: lambda: sum(range(amount))


def test_ratios_tell_more_work_from_the_same() -> None:
    report = measure_latency(
        {"long": _work(40_000), "same": _work(40_000), "short": _work(4_000)}, rounds=15, repeats=3
    )
    # A tenth of the additions; half of that is far outside of what a busy machine does to medians.
    assert report.timings["short"].speedup > 5
    assert 0.5 < report.timings["same"].speedup < 2
    assert 0.5 < report.control.speedup < 2
    assert report.noise >= 0
    assert list(report.timings) == ["long", "same", "short"]


def test_nothing_to_time_is_refused() -> None:
    with pytest.raises(InvalidInput, match="at least one file"):
        measure_latency({})
    with pytest.raises(InvalidInput, match="rounds >= 5"):
        measure_latency({"one": _work(1)}, rounds=1)


def test_a_speedup_within_what_a_file_shows_against_itself_is_none() -> None:
    control = Timing(microseconds=10.0, speedup=1.0, lower=0.8, upper=1.1)  # noise: 25 %
    speeds = {"whole": 1.0, "same": 1.2, "faster": 1.3, "slower": 0.7, "hardly slower": 0.9}
    timings = {
        name: Timing(microseconds=1.0, speedup=speed, lower=speed, upper=speed)
        for name, speed in speeds.items()
    }
    report = LatencyReport(timings=timings, control=control, rounds=5, repeats=1)
    assert {name for name in speeds if report.is_resolved(name)} == {"faster", "slower"}
