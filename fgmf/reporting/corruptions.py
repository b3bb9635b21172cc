"""The table of a corruption verdict: accuracy by corruption and severity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.reporting.evidence import integer_of, number_of, records_of, text_of
from fgmf.reporting.text import printable, shown_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fgmf.types import Json
    from fgmf.verdict import Verdict


def render_corruptions(verdict: Verdict) -> Iterable[str]:
    """Write a line for each corruption: mean accuracy, accuracy by severity, broken images.

    Args:
        verdict: Of any gate kind.

    Yields:
        Printable lines; none where the evidence holds no corruptions.
    """
    rows = records_of(verdict.evidence, "corruptions")
    if not rows:
        return
    yield "accuracy by corruption (by severity):"
    titles = [text_of(row, "title") or text_of(row, "name") for row in rows]
    width = max(len(title) for title in (*titles, "mean"))
    for title, row in zip(titles, rows, strict=True):
        broken = integer_of(row, "broken")
        count = "" if broken is None else f"; broke {broken}"
        yield f"  {title:<{width}}  {_shown(row, 'accuracy')}{_by_severity(row)}{count}"
    yield f"  {'mean':<{width}}  {_shown(verdict.evidence, 'mean_corruption_accuracy')}"


def _by_severity(row: Mapping[str, Json]) -> str:
    levels = row.get("by_severity")
    if not isinstance(levels, dict):
        return ""
    shown = [f"{printable(level)}: {_shown(levels, level)}" for level in sorted(levels)]
    return f"  ({', '.join(shown)})"


def _shown(record: Mapping[str, Json], key: str) -> str:
    value = number_of(record, key)
    return "-" if value is None else shown_number(value)
