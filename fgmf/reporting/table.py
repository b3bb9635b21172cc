"""All verdicts of a run as one aligned plain-text table."""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

from fgmf.reporting.headline import decisive_condition, describe_condition
from fgmf.reporting.rows import table_row
from fgmf.reporting.text import first_line, shown_count
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from fgmf.verdict import Verdict

_COLUMNS = ("outcome", "gate", "kind", "measured", "required", "images", "time", "remarks")
_RIGHT = frozenset({_COLUMNS.index("images"), _COLUMNS.index("time")})
_GAP = "  "


def render_table(verdicts: Sequence[Verdict]) -> str:
    """Write one line per verdict under a heading, columns aligned.

    Args:
        verdicts: In the order in which they are to be shown.

    Returns:
        Plain printable text for a terminal, without a newline at its end; lines are not
        wrapped. Empty if there are no verdicts.
    """
    if not verdicts:
        return ""
    rows = [_COLUMNS, *(_row(verdict) for verdict in verdicts)]
    return aligned(rows, right=_RIGHT)


def aligned(rows: Sequence[Sequence[str]], *, right: Collection[int]) -> str:
    """Write rows with their columns aligned, two spaces apart.

    Args:
        rows: Printable cells, as many in each row; the heading is a row too.
        right: Positions of the columns that are aligned to the right.

    Returns:
        One line per row, without spaces or a newline at their ends.
    """
    widths = [max(_width(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths, right) for row in rows)


def _row(verdict: Verdict) -> tuple[str, ...]:
    row = table_row(verdict)
    return (
        *(row.outcome, row.gate, row.kind, row.measured, row.required, row.images, row.time),
        "; ".join(_remarks(verdict)),
    )


def _remarks(verdict: Verdict) -> list[str]:
    """Why the row is what it is, where the numbers before it do not show that."""
    remarks = []
    decisive = decisive_condition(verdict)
    if verdict.outcome is Outcome.ERROR or (
        decisive is None and verdict.outcome is not Outcome.PASS
    ):
        remarks.append(first_line(verdict.reason))
    elif decisive is not None and decisive is not verdict.conditions[0]:
        remarks.append(describe_condition(decisive))
    severities = Counter(finding.severity for finding in verdict.findings if not finding.waived)
    remarks += [shown_count(count, severity) for severity, count in sorted(severities.items())]
    waived = sum(finding.waived for finding in verdict.findings)
    return [*remarks, f"{waived} waived"] if waived else remarks


def _line(row: Sequence[str], widths: Sequence[int], right: Collection[int]) -> str:
    cells = (
        _padded(cell, width, right=column in right)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return _GAP.join(cells).rstrip()


def _padded(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space


def _width(text: str) -> int:
    """Columns that `text` takes in a terminal."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    combining = sum(unicodedata.combining(character) > 0 for character in text)
    return len(text) + wide - combining
