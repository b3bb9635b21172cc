"""Where things stand in the charts of a page: numbers only, the template draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fgmf.reporting.evidence import integer_of, number_of, text_of
from fgmf.reporting.text import printable, shown_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.verdict import Condition, Verdict

WIDTH: Final = 640
HEIGHT: Final = 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 32, 12, 34
_TICKS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)


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


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One gate on a curve, in the units of the drawing.

    Attributes:
        x: Place of its epsilon.
        y: Place of its robust accuracy.
        low: Place of the lower end of the interval.
        high: Place of the upper end.
        bar: Place of the threshold.
        label: What it says when pointed at.
    """

    x: float
    y: float
    low: float
    high: float
    bar: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Robust accuracy over epsilon: gates that differ in nothing else.

    Attributes:
        title: Norm and attacks.
        points: By epsilon, two at least.
        x_ticks: Place and text.
        y_ticks: Likewise.
    """

    title: str
    points: tuple[CurvePoint, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]

    @property
    def line(self) -> str:
        """Through the point estimates, as SVG wants it."""
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)

    @property
    def band(self) -> str:
        """Around the intervals, likewise."""
        there = [f"{point.x:.1f},{point.high:.1f}" for point in self.points]
        back = [f"{point.x:.1f},{point.low:.1f}" for point in reversed(self.points)]
        return " ".join(there + back)


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


def curves_of(verdicts: Sequence[Verdict]) -> list[Curve]:
    """Draw a curve through gates of kind robustness that differ in epsilon alone.

    Args:
        verdicts: Of a run; gates of the same model, norm, criterion and attacks belong together.
    """
    families: dict[tuple[str, ...], dict[float, Verdict]] = {}
    for verdict in verdicts:
        epsilon = number_of(verdict.evidence, "epsilon")
        if verdict.kind != "robustness" or epsilon is None or verdict.measured is None:
            continue
        families.setdefault(_family(verdict), {}).setdefault(epsilon, verdict)
    return [_curve(family) for family in families.values() if len(family) > 1]


def _family(verdict: Verdict) -> tuple[str, ...]:
    evidence = verdict.evidence
    attacks = evidence.get("attacks")
    listed = attacks if isinstance(attacks, list) else []
    names = [text_of(entry, "title") for entry in listed if isinstance(entry, dict)]
    keys = ("norm", "criterion", "model_digest")
    size = str(integer_of(evidence, "dataset_size"))  # each gate draws images of its own from it
    return (*(text_of(evidence, key) for key in keys), size, ", ".join(names))


def _curve(family: dict[float, Verdict]) -> Curve:
    widest = max(family)
    span = WIDTH - _LEFT - _RIGHT

    def across(epsilon: float) -> float:
        return _LEFT + span * epsilon / widest

    points = tuple(_point(verdict, across(epsilon)) for epsilon, verdict in sorted(family.items()))
    norm, _, _, _, attacks = _family(next(iter(family.values())))
    return Curve(
        title=f"{norm.capitalize()}, worst of {attacks}",
        points=points,
        x_ticks=tuple((across(epsilon), f"{epsilon:.3g}") for epsilon in sorted(family)),
        y_ticks=tuple((_up(share), f"{share:.2f}") for share in _TICKS),
    )


def _point(verdict: Verdict, x: float) -> CurvePoint:
    measured, interval = verdict.measured or 0.0, verdict.interval
    low, high = (measured, measured) if interval is None else (interval.lower, interval.upper)
    bar = measured if verdict.threshold is None else verdict.threshold
    name = printable(verdict.gate)
    return CurvePoint(
        x=x,
        y=_up(measured),
        low=_up(low),
        high=_up(high),
        bar=_up(bar),
        label=f"{name}: {shown_number(measured)} [{low:.3f}, {high:.3f}], {verdict.outcome}",
    )


def _up(share: float) -> float:
    return HEIGHT - _BOTTOM - (HEIGHT - _BOTTOM - _TOP) * share
