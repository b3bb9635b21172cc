"""All cells of a matrix in one table; a cell that is missing is shown, never left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fgmf.errors import InvalidInput
from fgmf.reporting.evidence import number_of
from fgmf.reporting.text import printable, shown_interval, shown_number
from fgmf.supply_chain.report import read_report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.matrix.cells import Cell, Matrix
    from fgmf.verdict import Verdict

REPORT: Final = "report.json"


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """What the gates of one cell said.

    Attributes:
        cell: Which one.
        verdicts: By gate; none where the cell is missing.
        missing: Why there is nothing; empty where there is.
    """

    cell: Cell
    verdicts: tuple[Verdict, ...] = ()
    missing: str = ""


def collect(matrix: Matrix) -> list[CellResult]:
    """Read the reports of all cells of a matrix."""
    return [_result(cell) for cell in matrix.cells]


def render_matrix(results: Sequence[CellResult]) -> str:
    """Write one row per cell and gate as a Markdown table.

    Returns:
        The table with a newline at its end: measured value with its interval, the bar, clean
        accuracy, images, passes. What is missing says why.
    """
    head = ["backbone", "defence", "threat", "gate", "outcome", "measured", "required", "clean"]
    head += ["images", "passes"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for result in results:
        cell = result.cell
        place = [cell.backbone, cell.defence, cell.threat]
        rows = [_row(verdict) for verdict in result.verdicts]
        rows = rows or [["-", "MISSING", result.missing, *(["-"] * 4)]]
        lines += [f"| {' | '.join(map(_escaped, [*place, *row]))} |" for row in rows]
    return "\n".join(lines) + "\n"


def _result(cell: Cell) -> CellResult:
    try:
        report = read_report(cell.directory / REPORT)
    except FileNotFoundError:
        return CellResult(cell=cell, missing="no report")
    except (InvalidInput, OSError) as error:
        return CellResult(cell=cell, missing=f"{type(error).__name__}: {error}"[:120])
    verdicts = sorted(report.verdicts, key=lambda verdict: verdict.gate)
    return CellResult(cell=cell, verdicts=tuple(verdicts))


def _row(verdict: Verdict) -> list[str]:
    measured, clean = "-", number_of(verdict.evidence, "clean_accuracy")
    if verdict.measured is not None:
        measured = shown_number(verdict.measured, verdict.threshold)
        if verdict.interval is not None:
            measured += f" {shown_interval(verdict.interval, verdict.threshold)}"
    relation = ">=" if verdict.direction == "at-least" else "<="
    passes = verdict.cost.forward_passes + verdict.cost.backward_passes
    return [
        verdict.gate,
        verdict.outcome.upper(),
        measured,
        "-" if verdict.threshold is None else f"{relation} {verdict.threshold:g}",
        "-" if clean is None else shown_number(clean),
        str(verdict.image_count or "-"),
        str(passes),
    ]


def _escaped(text: str) -> str:
    return printable(text).replace("|", "\\|").replace("<", "&lt;")
