"""All verdicts as GitHub-flavoured Markdown: a step summary, or a comment on a merge request."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final

from fgmf.reporting.details import render_details
from fgmf.reporting.headline import render_headline
from fgmf.reporting.rows import counted, ordered, table_row
from fgmf.reporting.text import printable
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fgmf.types import Json
    from fgmf.verdict import Verdict

MOST_BYTES: Final = 900_000
"""GitHub drops a summary of more than 1 MiB whole."""

_SIGNS: Final = {
    Outcome.PASS: "✅",
    Outcome.FAIL: "❌",
    Outcome.INCONCLUSIVE: "❔",
    Outcome.ERROR: "⚠️",
}
_SPECIAL: Final = frozenset("\\`*_{}[]()#+-.!|~$@:")


def render_markdown(verdicts: Sequence[Verdict], *, run: Mapping[str, Json]) -> str:
    """Write a table of all gates, and the details of those that did not pass.

    Args:
        verdicts: In any order; what did not pass comes first.
        run: Facts about the run.

    Returns:
        Text of at most 900 kB with a newline at its end. Details that would make it longer are
        left out, and a line says how many; a row of the table never is, however many there are.
    """
    entries = ordered(verdicts)
    facts = ", ".join(
        f"{name} {_escaped(str(run[key]))}"
        for key, name in (("profile", "profile"), ("seed", "seed"), ("gate_file", "gate file"))
        if run.get(key) is not None
    )
    lines = ["## FGMF gates", "", f"**{counted(verdicts)}**" + (f" ({facts})" if facts else ""), ""]
    lines += ["| | gate | kind | measured | required | images |", "| --- |" + " --- |" * 5]
    lines += [_row(verdict) for verdict in entries]
    text = "\n".join(lines) + "\n"
    left_out = 0
    for section in (_section(v) for v in entries if v.outcome is not Outcome.PASS):
        if len((text + section).encode("utf-8", errors="backslashreplace")) < MOST_BYTES - 200:
            text += section
        else:
            left_out += 1
    if left_out:
        text += f"\nDetails of {left_out} gates are left out: too long for a summary.\n"
    return text


def _row(verdict: Verdict) -> str:
    row = table_row(verdict)
    sign = f"{_SIGNS[verdict.outcome]} {verdict.outcome.upper()}"
    cells = (row.gate, row.kind, row.measured, row.required, row.images)
    return "| " + " | ".join([sign, *map(_escaped, cells)]) + " |"


def _section(verdict: Verdict) -> str:
    """A fold: HTML, in which Markdown has no say."""
    title = html.escape(f"{printable(verdict.gate)}: {render_headline(verdict)}")
    details = html.escape(render_details(verdict))
    opened = " open" if verdict.outcome is Outcome.FAIL else ""
    return (
        f"\n<details{opened}><summary>{_SIGNS[verdict.outcome]} {title}</summary>\n\n"
        f"<pre>{details}</pre>\n\n</details>\n"
    )


def _escaped(text: str) -> str:
    escaped = "".join(f"\\{sign}" if sign in _SPECIAL else sign for sign in printable(text))
    return html.escape(escaped, quote=False)
