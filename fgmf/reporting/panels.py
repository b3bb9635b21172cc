"""Evidence of single gates as rows of marks on a line: numbers only, the template draws them.

corruption              a row per corruption, a mark per severity
gradient masking        a row per naive attack: what it reports, and what is left of it
faithfulness            a row per metric: the explainer among its references
stability               a row per disturbance: mean similarity, and the least similar image
mask log                head, anchor and streams
baselines               what changed, gate by gate
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from fgmf.reporting.evidence import number_of, records_of, text_of
from fgmf.reporting.text import printable, shown_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fgmf.types import Json
    from fgmf.verdict import Verdict

MarkStyle = Literal["main", "other", "bad"]
_MOST_ROWS: Final = 40


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One value on a row.

    Attributes:
        place: 0 to 100.
        style: ``main`` for what the gate is about, ``other`` beside it, ``bad`` for what is left.
        label: What it says when pointed at.
    """

    place: float
    style: MarkStyle
    label: str


@dataclass(frozen=True, kw_only=True)
class PanelRow:
    """One line of marks.

    Attributes:
        name: Left of it.
        marks: On it.
        words: Right of it.
    """

    name: str
    marks: tuple[Mark, ...]
    words: str


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Rows on one scale, or each on its own.

    Attributes:
        title: Above them.
        rows: At least one.
        ends: What the ends of the line stand for; empty where each row has a scale of its own.
        hint: How the marks are told apart.
    """

    title: str
    rows: tuple[PanelRow, ...]
    ends: tuple[str, str] | None
    hint: str


def panels_of(verdict: Verdict) -> list[Panel]:
    """Return the panels of a gate, none where its evidence has nothing to draw."""
    evidence = verdict.evidence
    found = (_corruptions(evidence), _gaps(evidence), _scores(evidence), _stability(evidence))
    return [panel for panel in found if panel is not None]


def _corruptions(evidence: Mapping[str, Json]) -> Panel | None:
    rows = []
    for entry in records_of(evidence, "corruptions")[:_MOST_ROWS]:
        levels = entry.get("by_severity")
        by_severity = levels if isinstance(levels, dict) else {}
        marks = [
            Mark(
                place=100 * value, style="other", label=f"severity {printable(level)}: {value:.3f}"
            )
            for level, name in ((level, printable(level)) for level in sorted(by_severity))
            if (value := number_of(by_severity, level)) is not None and 0 <= value <= 1
        ]
        mean = number_of(entry, "accuracy")
        if mean is not None and 0 <= mean <= 1:
            marks.append(Mark(place=100 * mean, style="main", label=f"mean: {mean:.3f}"))
        name = text_of(entry, "title") or text_of(entry, "name")
        rows.append(PanelRow(name=name, marks=tuple(marks), words=_number(mean)))
    hint = "thick: mean over severities; thin: each severity"
    return _panel("Accuracy by corruption", rows, ("0", "1"), hint)


def _gaps(evidence: Mapping[str, Json]) -> Panel | None:
    rows = []
    for entry in records_of(evidence, "gaps")[:_MOST_ROWS]:
        told, left = number_of(entry, "naive_accuracy"), number_of(entry, "adaptive_accuracy")
        marks = [
            Mark(place=100 * value, style=style, label=f"{words}: {value:.3f}")
            for value, style, words in _told_and_left(told, left)
        ]
        words = f"{_number(told)} → {_number(left)}"
        rows.append(PanelRow(name=text_of(entry, "naive"), marks=tuple(marks), words=words))
    hint = "thin: robust accuracy that the naive attack reports; thick: what counter-attacks leave"
    return _panel("Is robust accuracy an illusion?", rows, ("0", "1"), hint)


def _told_and_left(told: float | None, left: float | None) -> list[tuple[float, MarkStyle, str]]:
    marks: list[tuple[float, MarkStyle, str]] = []
    if told is not None and 0 <= told <= 1:
        marks.append((told, "other", "naive"))
    if left is not None and 0 <= left <= 1:
        marks.append((left, "bad", "after counter-attacks"))
    return marks


def _scores(evidence: Mapping[str, Json]) -> Panel | None:
    rows = []
    for entry in records_of(evidence, "comparisons")[:_MOST_ROWS]:
        score = number_of(entry, "score")
        others = [
            (text_of(reference, "name"), value)
            for reference in records_of(entry, "references")
            if (value := number_of(reference, "score")) is not None
        ]
        if score is None:
            continue
        values = [score, *(value for _, value in others)]
        low, high = min(values), max(values)
        width = (high - low) or 1.0
        marks = [
            Mark(place=4 + 92 * (value - low) / width, style="other", label=f"{name}: {value:.4g}")
            for name, value in others
        ]
        place = 4 + 92 * (score - low) / width
        marks.append(Mark(place=place, style="main", label=f"explainer: {score:.4g}"))
        better = "more" if entry.get("higher_is_better") is True else "less"
        name = text_of(entry, "title") or text_of(entry, "metric")
        replacement = text_of(entry, "replacement")
        beside = ", ".join(f"{name} {shown_number(value)}" for name, value in others)
        rows.append(
            PanelRow(
                name=f"{name}{f' ({replacement})' if replacement else ''}, {better} is better",
                marks=tuple(marks),
                words=f"{shown_number(score)}{f'; {beside}' if beside else ''}",
            )
        )
    hint = "thick: the explainer; thin: its references; each row on a scale of its own"
    return _panel("Explainer against references", rows, None, hint)


def _stability(evidence: Mapping[str, Json]) -> Panel | None:
    rows = []
    for entry in records_of(evidence, "stability")[:_MOST_ROWS]:
        mean, lowest = number_of(entry, "similarity"), number_of(entry, "lowest")
        marks = [
            Mark(place=50 * (value + 1), style=style, label=f"{words}: {value:.3f}")
            for value, style, words in _mean_and_lowest(mean, lowest)
        ]
        words = f"{_number(mean)}, lowest {_number(lowest)}"
        rows.append(PanelRow(name=text_of(entry, "name"), marks=tuple(marks), words=words))
    hint = "thick: mean similarity of maps; thin: the least similar image"
    return _panel("Do explanations stay?", rows, ("-1", "1"), hint)


def _mean_and_lowest(
    mean: float | None, lowest: float | None
) -> list[tuple[float, MarkStyle, str]]:
    marks: list[tuple[float, MarkStyle, str]] = []
    if lowest is not None and -1 <= lowest <= 1:
        marks.append((lowest, "other", "lowest"))
    if mean is not None and -1 <= mean <= 1:
        marks.append((mean, "main", "mean"))
    return marks


def _panel(
    title: str, rows: Sequence[PanelRow], ends: tuple[str, str] | None, hint: str
) -> Panel | None:
    if not rows:
        return None
    return Panel(title=title, rows=tuple(rows), ends=ends, hint=hint)


def _number(value: float | None) -> str:
    return "-" if value is None else shown_number(value)


@dataclass(frozen=True, kw_only=True)
class LogFacts:
    """What a mask-log verdict is about.

    Attributes:
        head: Its digest, printable; empty where there is none.
        anchor: What stands behind it from outside.
        streams: Name, records, samples, and whether it ended.
    """

    head: str
    anchor: str
    streams: tuple[tuple[str, str, str, str], ...]


def log_facts(verdict: Verdict) -> LogFacts | None:
    """Return head and streams of a mask-log verdict; None for other kinds."""
    evidence = verdict.evidence
    if not text_of(evidence, "log_outcome"):
        return None
    streams = tuple(
        (
            text_of(stream, "stream"),
            _count(stream, "records"),
            _count(stream, "samples"),
            "yes" if stream.get("ended") is True else "no",
        )
        for stream in records_of(evidence, "streams")[:_MOST_ROWS]
    )
    head, anchor = text_of(evidence, "head"), text_of(evidence, "anchor")
    return LogFacts(head=head, anchor=anchor, streams=streams)


def _count(stream: Mapping[str, Json], name: str) -> str:
    value = number_of(stream, name)
    return "-" if value is None else f"{value:.0f}"


@dataclass(frozen=True, kw_only=True)
class ChangeRow:
    """One gate against its baseline.

    Attributes:
        gate: Its name.
        outcome: Style of what the limits say; empty where there are none.
        shares: Robust accuracy before and now, in words.
        difference: With its interval.
        images: Newly broken, newly fixed, in words; why nothing was compared, where it was not.
    """

    gate: str
    outcome: str
    shares: str
    difference: str
    images: str


def changes_of(run: Mapping[str, Json]) -> list[ChangeRow]:
    """Return what changed against baselines, from the facts of a run."""
    return [_change(entry) for entry in records_of(run, "comparisons")]


def _change(entry: Mapping[str, Json]) -> ChangeRow:
    outcome, gate = text_of(entry, "outcome"), text_of(entry, "gate")
    worst = entry.get("worst")
    count = number_of(worst, "images") if isinstance(worst, dict) else None
    if not isinstance(worst, dict) or not count:
        status, reason = text_of(entry, "status"), text_of(entry, "reason")
        return ChangeRow(
            gate=gate, outcome=outcome, shares="-", difference="-", images=f"{status}: {reason}"
        )
    before, now = number_of(worst, "robust_before") or 0, number_of(worst, "robust_now") or 0
    bounds = worst.get("interval")
    inside = bounds if isinstance(bounds, dict) else {}
    lower, upper = number_of(inside, "lower"), number_of(inside, "upper")
    interval = "" if lower is None or upper is None else f" [{lower:+.3f}, {upper:+.3f}]"
    broken, fixed = number_of(worst, "newly_broken") or 0, number_of(worst, "newly_fixed") or 0
    return ChangeRow(
        gate=gate,
        outcome=outcome,
        shares=f"{shown_number(before / count)} → {shown_number(now / count)}",
        difference=f"{(now - before) / count:+.3f}{interval}",
        images=f"{broken:.0f} newly broken, {fixed:.0f} newly fixed of {count:.0f}",
    )
