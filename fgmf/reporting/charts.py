"""Where intervals stand on the bars of a page: numbers only, the template draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fgmf.verdict import Condition


@dataclass(frozen=True, kw_only=True)
class IntervalBar:
    """An interval and its threshold on a line from 0 to 100.

    Attributes:
        lower: Left end of the interval.
        upper: Right end.
        point: The point estimate; None where there is none.
        threshold: What it is compared with.
        ends: What 0 and 100 stand for, printable.
    """

    lower: float
    upper: float
    point: float | None
    threshold: float
    ends: tuple[str, str]


def interval_bar(condition: Condition) -> IntervalBar | None:
    """Place a condition on a line; None where it has no interval.

    Shares lie between 0 and 1. Other quantities get a line that holds them and the threshold.
    """
    interval = condition.interval
    if interval is None:
        return None
    values = [interval.lower, interval.upper, condition.threshold]
    low, high = min(0.0, *values), max(1.0, *values)

    def place(value: float) -> float:
        return 100.0 * (value - low) / (high - low)

    return IntervalBar(
        lower=place(interval.lower),
        upper=place(interval.upper),
        point=None if condition.measured is None else place(condition.measured),
        threshold=place(condition.threshold),
        ends=(f"{low:.3g}", f"{high:.3g}"),
    )
