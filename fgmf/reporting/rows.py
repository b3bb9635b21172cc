"""One gate in the table of a report, and the order and count of all of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fgmf.reporting.text import printable, shown_interval, shown_number, shown_threshold
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.verdict import Verdict

_WORDS: Final = {
    Outcome.ERROR: "not measured",
    Outcome.FAIL: "failed",
    Outcome.INCONCLUSIVE: "inconclusive",
    Outcome.PASS: "passed",
}
_WORST_FIRST: Final = list(_WORDS)


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """What a table says of one gate, printable; ``-`` where there is nothing to say."""

    outcome: str
    gate: str
    kind: str
    measured: str
    required: str
    images: str
    time: str


def table_row(verdict: Verdict) -> TableRow:
    """Write the cells of one gate."""
    measured = "-"
    if verdict.measured is not None:
        measured = shown_number(verdict.measured, verdict.threshold)
        if verdict.interval is not None:
            measured += f" {shown_interval(verdict.interval, verdict.threshold)}"
    accepted = verdict.passed and verdict.outcome is not Outcome.PASS
    return TableRow(
        outcome=verdict.outcome.upper() + (" (accepted)" if accepted else ""),
        gate=printable(verdict.gate),
        kind=printable(verdict.kind),
        measured=measured,
        required=_required(verdict),
        images=str(verdict.image_count or "-"),
        time=f"{verdict.cost.seconds:.1f} s",
    )


def ordered(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return what did not pass first, the worst before the rest, else by name."""
    return sorted(verdicts, key=lambda v: (_WORST_FIRST.index(v.outcome), v.gate))


def counted(verdicts: Sequence[Verdict]) -> str:
    """Write ``1 failed, 2 passed``, the worst first; ``no gates`` if there are none."""
    counts = Counter(verdict.outcome for verdict in verdicts)
    parts = [f"{counts[outcome]} {word}" for outcome, word in _WORDS.items() if counts[outcome]]
    return ", ".join(parts) or "no gates"


def _required(verdict: Verdict) -> str:
    if verdict.threshold is None:
        return "-"
    relation = ">=" if verdict.direction == "at-least" else "<="
    return f"{relation} {shown_threshold(verdict.threshold)}"
