"""Security curves: accuracy over epsilon, a line per attack family, all of one model on one scale.

a family    the attacks of a gate; gates with the same attacks are points of one line
a start     accuracy without an attack, at epsilon 0, where a gate measured it
by radius   an attack that looks for the nearest example gives a whole line from one gate

Only places are computed here, from numbers that verdicts carry; the template draws them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from fgmf.reporting.evidence import integer_of, number_of, records_of, text_of
from fgmf.reporting.text import printable, shown_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fgmf.types import Json
    from fgmf.verdict import Verdict

WIDTH: Final = 640
HEIGHT: Final = 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 32, 12, 34
_TICKS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
_MOST_X_TICKS: Final = 7
STYLES: Final = 6
"""Lines that can be told apart; more families begin again."""


class _Measured(NamedTuple):
    """One point before it has a place: what a verdict says."""

    epsilon: float
    accuracy: float
    lower: float
    upper: float
    required: float | None
    label: str


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One gate on a curve, in the units of the drawing.

    Attributes:
        x: Place of its epsilon.
        y: Place of its accuracy.
        low: Place of the lower end of the interval.
        high: Place of the upper end.
        bar: Place of the threshold; None where there is none.
        label: What it says when pointed at.
    """

    x: float
    y: float
    low: float
    high: float
    bar: float | None
    label: str


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Accuracy over epsilon under one family of attacks.

    Attributes:
        name: The attacks.
        style: Number of its colour and dashes.
        points: By epsilon.
        dotted: Whether each point is a gate, and drawn as a dot.
    """

    name: str
    style: int
    points: tuple[CurvePoint, ...]
    dotted: bool

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


@dataclass(frozen=True, kw_only=True)
class CurveChart:
    """The curves of one model, norm, criterion and data set.

    Attributes:
        title: What they have in common.
        curves: One per family; one of them at least has two points or more.
        x_ticks: Place and text.
        y_ticks: Likewise.
    """

    title: str
    curves: tuple[Curve, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


def curve_charts(verdicts: Sequence[Verdict]) -> list[CurveChart]:
    """Draw curves through gates of kind robustness.

    Args:
        verdicts: Of a run; gates of the same model, norm, criterion and data set share a chart.
    """
    groups: dict[tuple[str, ...], dict[str, list[Verdict]]] = {}
    for verdict in verdicts:
        epsilon = number_of(verdict.evidence, "epsilon")
        if verdict.kind == "robustness" and epsilon is not None and verdict.measured is not None:
            families = groups.setdefault(_group(verdict), {})
            families.setdefault(_family(verdict), []).append(verdict)
    charts = []
    for group, families in groups.items():
        dotted = {name: _by_gates(members) for name, members in families.items()}
        lines = _by_radius([v for members in families.values() for v in members])
        if lines or any(_differ(points) for points in dotted.values()):
            charts.append(_chart(group, dotted, lines))
    return charts


def _group(verdict: Verdict) -> tuple[str, ...]:
    evidence = verdict.evidence
    size = str(integer_of(evidence, "dataset_size"))  # each gate draws images of its own from it
    return (*(text_of(evidence, key) for key in ("norm", "criterion", "model_digest")), size)


def _family(verdict: Verdict) -> str:
    titles = [text_of(row, "title") for row in records_of(verdict.evidence, "attacks")]
    return f"worst of {', '.join(titles)}" if len(titles) > 1 else ", ".join(titles)


def _differ(points: Sequence[_Measured]) -> bool:
    return len({point.epsilon for point in points if point.epsilon > 0}) > 1


def _by_gates(verdicts: Sequence[Verdict]) -> list[_Measured]:
    """A point per epsilon, and one without an attack; the first gate of an epsilon counts."""
    found: dict[float, _Measured] = {}
    for verdict in verdicts:
        measured, interval = verdict.measured or 0.0, verdict.interval
        low, high = (measured, measured) if interval is None else (interval.lower, interval.upper)
        words = f"{shown_number(measured)} [{low:.3f}, {high:.3f}], {verdict.outcome}"
        epsilon = number_of(verdict.evidence, "epsilon") or 0.0
        label = f"{printable(verdict.gate)}, eps {epsilon:.4g}: {words}"
        point = _Measured(epsilon, measured, low, high, verdict.threshold, label)
        found.setdefault(epsilon, point)
        start = _start(verdict)
        if start is not None:
            found.setdefault(0.0, start)
    return [point for _, point in sorted(found.items())]


def _start(verdict: Verdict) -> _Measured | None:
    clean = number_of(verdict.evidence, "clean_accuracy")
    bounds = verdict.evidence.get("clean_interval")
    inside = bounds if isinstance(bounds, dict) else {}
    low, high = number_of(inside, "lower"), number_of(inside, "upper")
    if clean is None or low is None or high is None:
        return None
    label = f"{printable(verdict.gate)}, without an attack: {clean:.3f} [{low:.3f}, {high:.3f}]"
    return _Measured(0.0, clean, low, high, None, label)


def _by_radius(verdicts: Sequence[Verdict]) -> list[tuple[str, list[_Measured]]]:
    """Lines of attacks that looked for the nearest example of every image."""
    found: list[tuple[str, list[_Measured]]] = []
    for verdict in verdicts:
        for row in records_of(verdict.evidence, "attacks"):
            points = [p for entry in records_of(row, "curve") if (p := _entry(entry)) is not None]
            if len(points) > 1:
                name = f"{text_of(row, 'title')} by radius, {printable(verdict.gate)}"
                found.append((name, sorted(points)))
    return found


def _entry(entry: Mapping[str, Json]) -> _Measured | None:
    values = [number_of(entry, key) for key in ("epsilon", "accuracy", "lower", "upper")]
    if any(value is None for value in values):
        return None
    epsilon, accuracy, low, high = (value or 0.0 for value in values)
    inside = epsilon >= 0 and 0 <= low <= accuracy <= high <= 1
    return _Measured(epsilon, accuracy, low, high, None, "") if inside else None


def _chart(
    group: tuple[str, ...],
    dotted: Mapping[str, Sequence[_Measured]],
    lines: Sequence[tuple[str, Sequence[_Measured]]],
) -> CurveChart:
    families = [*((name, points, True) for name, points in dotted.items())]
    families += [(name, points, False) for name, points in lines]
    widest = max(point.epsilon for _, points, _ in families for point in points)
    span = WIDTH - _LEFT - _RIGHT

    def across(epsilon: float) -> float:
        return _LEFT + (span * epsilon / widest if widest > 0 else 0.0)

    ticks = sorted({point.epsilon for points in dotted.values() for point in points})
    step = -(-len(ticks) // _MOST_X_TICKS)
    norm, criterion, *_ = group
    return CurveChart(
        title=f"{norm.capitalize()} ball, {criterion}",
        curves=tuple(
            Curve(
                name=name,
                style=number % STYLES,
                points=tuple(_placed(point, across(point.epsilon)) for point in points),
                dotted=is_dotted,
            )
            for number, (name, points, is_dotted) in enumerate(families)
        ),
        x_ticks=tuple((across(epsilon), f"{epsilon:.3g}") for epsilon in ticks[::step]),
        y_ticks=tuple((_up(share), f"{share:.2f}") for share in _TICKS),
    )


def _placed(point: _Measured, x: float) -> CurvePoint:
    return CurvePoint(
        x=x,
        y=_up(point.accuracy),
        low=_up(point.lower),
        high=_up(point.upper),
        bar=None if point.required is None else _up(point.required),
        label=point.label,
    )


def _up(share: float) -> float:
    return HEIGHT - _BOTTOM - (HEIGHT - _BOTTOM - _TOP) * share
