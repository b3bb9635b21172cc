"""All runs of a matrix; one that is missing is shown, never left out."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fgmf.errors import InvalidInput
from fgmf.reporting.evidence import number_of
from fgmf.reporting.text import printable, shown_interval, shown_number
from fgmf.supply_chain.report import read_report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from fgmf.matrix.cells import Cell, CellRun, Matrix
    from fgmf.verdict import Verdict

FORMAT: Final = "fgmf-matrix-run/1"


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What one seed of a cell came to.

    Attributes:
        run: Which one.
        verdicts: By gate; none where the run is missing.
        measures: Curvature, seconds and memory, as far as they were measured.
        missing: Why there is nothing; empty where there is.
    """

    run: CellRun
    verdicts: tuple[Verdict, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)
    missing: str = ""


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """What all seeds of one cell came to."""

    cell: Cell
    runs: tuple[RunResult, ...]

    @property
    def missing(self) -> str:
        """Why a run is missing; empty where none is."""
        return next((run.missing for run in self.runs if run.missing), "")


def collect(matrix: Matrix) -> list[CellResult]:
    """Read the reports of all cells of a matrix."""
    return [
        CellResult(cell=cell, runs=tuple(_result(run) for run in cell.runs))
        for cell in matrix.cells
    ]


def inputs_digest(*files: Path) -> str:
    """Return ``sha256:<hex>`` of the files that a run is made of, with their lengths."""
    digest = hashlib.sha256()
    for file in files:
        contents = file.read_bytes()
        digest.update(len(contents).to_bytes(8) + contents)
    return "sha256:" + digest.hexdigest()


def record_of(run: CellRun) -> dict[str, Any] | None:
    """Return what a run was made of and took; None where it is not whole, or its report another."""
    try:
        document = json.loads(run.record.read_bytes())
        report = inputs_digest(run.report)
    except (OSError, ValueError):
        return None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        return None
    return document if document.get("report") == report else None


def render_runs(results: Sequence[CellResult]) -> str:
    """Write one row per run and gate as a Markdown table.

    Returns:
        The table with a newline at its end: measured value with its interval, the bar, clean
        accuracy, images, passes. What is missing says why.
    """
    head = ["backbone", "defence", "threat", "seed", "gate", "outcome", "measured", "required"]
    head += ["clean", "images", "passes"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for result in results:
        cell = result.cell
        for run in result.runs:
            place = [cell.backbone, cell.defence, cell.threat, str(run.run.seed)]
            rows = [_row(verdict) for verdict in run.verdicts]
            rows = rows or [["-", "MISSING", run.missing, *(["-"] * 4)]]
            lines += [f"| {' | '.join(map(escaped, [*place, *row]))} |" for row in rows]
    return "\n".join(lines) + "\n"


def _result(run: CellRun) -> RunResult:
    try:
        report = read_report(run.report)
    except FileNotFoundError:
        return RunResult(run=run, missing="no report")
    except (InvalidInput, OSError) as error:
        return RunResult(run=run, missing=f"{type(error).__name__}: {error}"[:120])
    record = record_of(run)
    if record is None:
        return RunResult(run=run, missing="no record of this report")
    verdicts = sorted(report.verdicts, key=lambda verdict: verdict.gate)
    measures = {
        name: float(value)
        for name, value in record["measures"].items()
        if isinstance(value, int | float)
    }
    return RunResult(run=run, verdicts=tuple(verdicts), measures=measures)


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


def escaped(text: str) -> str:
    """Text in a cell of a Markdown table."""
    return printable(text).replace("|", "\\|").replace("<", "&lt;")
