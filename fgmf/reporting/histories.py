"""Figures of gates over commits: places in a small chart for each, from `run.history`.

Entries stand side by side in the order in which they were written. A stretch ends where a gate was
not measured, or was measured under another configuration: figures before and after do not compare.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fgmf.reporting.evidence import number_of, records_of, text_of
from fgmf.reporting.text import shown_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fgmf.types import Json

HISTORY_WIDTH: Final = 640
HISTORY_HEIGHT: Final = 130
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 16, 10, 10
_SHOWN_ROWS: Final = 10
_OUTCOMES: Final = frozenset({"pass", "fail", "inconclusive", "error"})
_COMMIT_DIGITS: Final = 10


@dataclass(frozen=True, kw_only=True)
class HistoryPoint:
    """One run, in the units of the drawing.

    Attributes:
        x: Its place.
        y: Place of what was measured.
        outcome: Name of its style.
        label: What it says when pointed at.
    """

    x: float
    y: float
    outcome: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Runs of one configuration without a gap, as SVG wants them."""

    line: str
    band: str


@dataclass(frozen=True, kw_only=True)
class HistoryRow:
    """One run in words."""

    commit: str
    written: str
    outcome: str
    measured: str


@dataclass(frozen=True, kw_only=True)
class GateHistory:
    """One gate over the runs.

    Attributes:
        gate: Its name.
        points: Of runs that measured it.
        stretches: Lines and bands through them.
        gaps: Of runs without a figure: place, and outcome.
        bars: Of each run with a threshold: place, height.
        y_ticks: Place and text.
        rows: The last runs, newest first.
        count: All runs that are drawn.
    """

    gate: str
    points: tuple[HistoryPoint, ...]
    stretches: tuple[Stretch, ...]
    gaps: tuple[tuple[float, str], ...]
    bars: tuple[tuple[float, float], ...]
    y_ticks: tuple[tuple[float, str], ...]
    rows: tuple[HistoryRow, ...]
    count: int


def histories_of(run: Mapping[str, Json]) -> list[GateHistory]:
    """Return the history of each gate, from the facts of a run; of one run there is none yet."""
    by_gate: dict[str, list[Mapping[str, Json]]] = {}
    for entry in records_of(run, "history"):
        by_gate.setdefault(text_of(entry, "gate"), []).append(entry)
    return [_history(gate, entries) for gate, entries in by_gate.items() if len(entries) > 1]


def _history(gate: str, entries: Sequence[Mapping[str, Json]]) -> GateHistory:
    scale = _Scale(entries)
    points, gaps, bars = [], [], []
    for at, entry in enumerate(entries):
        x, measured, threshold = scale.across(at), number_of(entry, "measured"), None
        threshold = number_of(entry, "threshold")
        if threshold is not None:
            bars.append((x, scale.up(threshold)))
        if measured is None:
            gaps.append((x, _row(entry).outcome))
            continue
        row = _row(entry)
        label = f"{row.commit or row.written}: {row.measured}, {row.outcome}"
        points.append(HistoryPoint(x=x, y=scale.up(measured), outcome=row.outcome, label=label))
    return GateHistory(
        gate=gate,
        points=tuple(points),
        stretches=tuple(_stretches(entries, scale)),
        gaps=tuple(gaps),
        bars=tuple(bars),
        y_ticks=scale.ticks,
        rows=tuple(_row(entry) for entry in reversed(entries[-_SHOWN_ROWS:])),
        count=len(entries),
    )


def _stretches(entries: Sequence[Mapping[str, Json]], scale: _Scale) -> list[Stretch]:
    runs: list[list[tuple[float, float, float, float]]] = []
    configuration: str | None = None
    for at, entry in enumerate(entries):
        measured, own = number_of(entry, "measured"), text_of(entry, "configuration_digest")
        if measured is None:
            configuration = None
            continue
        if own != configuration:
            runs.append([])
        configuration = own
        low, high = number_of(entry, "lower"), number_of(entry, "upper")
        ends = (measured if low is None else low, measured if high is None else high)
        runs[-1].append(
            (scale.across(at), scale.up(measured), scale.up(ends[0]), scale.up(ends[1]))
        )
    return [
        Stretch(
            line=" ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in run),
            band=" ".join(
                [f"{x:.1f},{high:.1f}" for x, _, _, high in run]
                + [f"{x:.1f},{low:.1f}" for x, _, low, _ in reversed(run)]
            ),
        )
        for run in runs
        if len(run) > 1
    ]


def _row(entry: Mapping[str, Json]) -> HistoryRow:
    measured = number_of(entry, "measured")
    low, high = number_of(entry, "lower"), number_of(entry, "upper")
    interval = "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"
    outcome = text_of(entry, "outcome")
    commit = text_of(entry, "commit")[:_COMMIT_DIGITS]
    return HistoryRow(
        commit=f"{commit} and changes" if commit and entry.get("changed") is True else commit,
        written=text_of(entry, "written"),
        outcome=outcome if outcome in _OUTCOMES else "error",
        measured="-" if measured is None else f"{shown_number(measured)}{interval}",
    )


class _Scale:
    """From runs and figures to places; shares lie between 0 and 1."""

    def __init__(self, entries: Sequence[Mapping[str, Json]]) -> None:
        keys = ("measured", "lower", "upper", "threshold")
        values = [v for e in entries for k in keys if (v := number_of(e, k)) is not None]
        self._low, self._high = min([0.0, *values]), max([1.0, *values])
        self._steps = max(1, len(entries) - 1)

    def across(self, at: int) -> float:
        return _LEFT + 6 + (HISTORY_WIDTH - _LEFT - _RIGHT - 12) * at / self._steps

    def up(self, value: float) -> float:
        span = HISTORY_HEIGHT - _BOTTOM - _TOP
        return HISTORY_HEIGHT - _BOTTOM - span * (value - self._low) / (self._high - self._low)

    @property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        middle = (self._low + self._high) / 2
        return tuple((self.up(v), f"{v:.3g}") for v in (self._low, middle, self._high))
