"""The cells of a matrix as one drawing: a point per seed with its interval, grouped by threat.

SVG without a script; it follows the reader's light or dark setting.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final

from fgmf.reporting.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.matrix.collecting import CellResult
    from fgmf.verdict import Verdict

_LEFT: Final = 250
_WIDTH: Final = 760
_RIGHT: Final = 40
_LINE: Final = 22
_STYLE: Final = (
    "text{font:13px sans-serif;fill:#333}.axis{stroke:#ccc}.range{stroke:#2f5fd0;stroke-width:4;"
    "opacity:.45}.dot{fill:#2f5fd0}.missing{fill:#c62a2f}"
    "@media(prefers-color-scheme:dark){svg{background:#15171a}text{fill:#ddd}.axis{stroke:#444}"
    ".range{stroke:#8cb0ff}.dot{fill:#8cb0ff}.missing{fill:#ff7a7d}}"
)


def render_plot(results: Sequence[CellResult], *, gate: str) -> str:
    """Draw the main quantity of one gate over all cells.

    Args:
        results: Of all cells.
        gate: Name of the gate.

    Returns:
        An SVG document with a newline at its end; the line goes from 0 to 1, and what lies
        beyond is written beside it.
    """
    rows: list[str] = []
    top = 44
    for threat in dict.fromkeys(result.cell.threat for result in results):
        rows.append(f'<text x="10" y="{top}" font-weight="bold">{_text(threat)}</text>')
        top += _LINE
        for result in (entry for entry in results if entry.cell.threat == threat):
            rows.append(_row(result, gate, top))
            top += _LINE
        top += 8
    axis = "".join(
        f'<line class="axis" x1="{_place(at)}" x2="{_place(at)}" y1="30" y2="{top - 20}"/>'
        f'<text x="{_place(at)}" y="22" text-anchor="middle">{at:g}</text>'
        for at in (0.0, 0.25, 0.5, 0.75, 1.0)
    )
    title = f"<title>{_text(gate)} by backbone, defence and threat</title>"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" role="img">'
    return f"{head}{title}<style>{_STYLE}</style>{axis}{''.join(rows)}</svg>\n"


def _row(result: CellResult, gate: str, y: int) -> str:
    name = f"{result.cell.backbone}, {result.cell.defence}"
    label = f'<text x="24" y="{y}">{_text(name)}</text>'
    verdicts = [v for run in result.runs for v in run.verdicts if v.gate == gate]
    measured = [(v, v.measured) for v in verdicts if v.measured is not None]
    marks = [_mark(v, value, y - 4) for v, value in measured if 0 <= value <= 1]
    beyond = [f"{value:.3f}" for _, value in measured if not 0 <= value <= 1]
    if len(measured) < len(result.runs):
        why = result.missing or "not measured"
        marks.append(f'<text class="missing" x="{_LEFT + 6}" y="{y}">{_text(why)}</text>')
    if beyond:
        at, words = _WIDTH - _RIGHT - 6, f"beyond the line: {', '.join(beyond)}"
        marks.append(f'<text x="{at}" y="{y}" text-anchor="end">{_text(words)}</text>')
    return label + "".join(marks)


def _mark(verdict: Verdict, measured: float, y: int) -> str:
    words = f"{measured:.3f}"
    interval = ""
    if verdict.interval is not None:
        low, high = (
            min(1.0, max(0.0, v)) for v in (verdict.interval.lower, verdict.interval.upper)
        )
        words += f" [{low:.3f}, {high:.3f}]"
        ends = f'x1="{_place(low)}" x2="{_place(high)}"'
        interval = f'<line class="range" {ends} y1="{y}" y2="{y}"/>'
    dot = f'<circle class="dot" cx="{_place(measured)}" cy="{y}" r="5">'
    return f"{interval}{dot}<title>{words}, {verdict.outcome}</title></circle>"


def _place(share: float) -> str:
    return f"{_LEFT + (_WIDTH - _LEFT - _RIGHT) * share:.1f}"


def _text(text: str) -> str:
    return html.escape(printable(text))
