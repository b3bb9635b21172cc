"""What the commands of `fgmf matrix` do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from fgmf.canonical import write_atomically
from fgmf.cli.checking import CheckRequest, run_check
from fgmf.cli.exits import ExitCode, say
from fgmf.cli.training import run_train
from fgmf.errors import FgmfError
from fgmf.matrix import (
    collect,
    differences,
    read_matrix,
    render_plot,
    render_runs,
    render_summary,
    summarise,
    summary_document,
    write_run,
)
from fgmf.matrix.cells import data_files, located
from fgmf.matrix.collecting import FORMAT, inputs_digest, record_of
from fgmf.running import importing_from

if TYPE_CHECKING:
    from pathlib import Path

    from fgmf.matrix import Cell, CellRun, Matrix


_WHOLE: Final = (ExitCode.PASSED, ExitCode.FAILED, ExitCode.INCONCLUSIVE)
"""What a run may have come to that is not made again."""


def run_cell(path: Path, name: str, *, restart: bool) -> ExitCode:
    """Train and gate one cell by every seed of the file; what is whole is not made again.

    Args:
        path: Matrix file.
        name: Of the cell.
        restart: Throw earlier trainings away.

    Returns:
        The first of its runs that is not PASSED: that of the training where it was stopped, else
        that of the gates.

    Raises:
        InvalidGateFile: The matrix file, or the gate file made of it, is broken.
        InvalidRecipeFile: The recipe made of it is broken.
    """
    matrix = read_matrix(path.absolute())
    cell = matrix.cell(name)
    first = ExitCode.PASSED
    with importing_from(matrix.path.parent):  # factories lie beside the matrix file
        for number, run in enumerate(cell.runs):
            code = _run(matrix, cell, run, restart=restart, alone=number == 0)
            first = code if first is ExitCode.PASSED else first
    return first


def _run(matrix: Matrix, cell: Cell, run: CellRun, *, restart: bool, alone: bool) -> ExitCode:
    """One seed. `alone` says that nothing else has used memory in this process so far."""
    recipe, gates = write_run(matrix, cell, run)
    inputs = inputs_digest(recipe, gates, *data_files(matrix))
    record = record_of(run)
    whole = record is not None and record["inputs"] == inputs and record["exit"] in _WHOLE
    if record is not None and whole and not restart:
        say(f"seed {run.seed} was measured before")
        return ExitCode(record["exit"])
    for stale in (run.record, run.report):
        stale.unlink(missing_ok=True)
    anew = restart or not (run.training / "manifest.json").exists()
    trained = run_train(recipe, restart=restart)
    if trained is not ExitCode.PASSED:
        return trained
    measures = _measures(matrix, cell, run, alone=alone and anew)
    code = run_check(CheckRequest(path=gates, reports=(f"json:{run.report}",)))
    if run.report.exists():
        record = {
            "format": FORMAT,
            "inputs": inputs,
            "report": inputs_digest(run.report),
            "exit": int(code),
            "measures": measures,
        }
        write_atomically(run.record, (json.dumps(record, indent=1) + "\n").encode())
    return code


def _measures(matrix: Matrix, cell: Cell, run: CellRun, *, alone: bool) -> dict[str, float]:
    from fgmf.pipeline.measures import curvature_measures, peak_memory, training_measures

    peak = peak_memory() if alone else None
    memory = {} if peak is None else {"peak_mib": peak}
    data, threat = located(matrix, matrix.tables["data"]), matrix.threats[cell.threat]
    curvature: dict[str, float] = {}
    try:
        curvature = curvature_measures(run.training, data, threat, matrix.path.parent)
    except FgmfError as error:  # a model without gradients has no such column
        say(f"note: no curvature of {cell.name}, seed {run.seed}: {error}")
    return {**training_measures(run.training), **memory, **curvature}


def list_names(path: Path) -> ExitCode:
    """Print the names of all cells."""
    for cell in read_matrix(path.absolute()).cells:
        say(cell.name)
    return ExitCode.PASSED


def collect_cells(path: Path) -> ExitCode:
    """Write the tables, a JSON document and a plot per gate beside the cells.

    Returns:
        ERROR if a run is missing; PASSED otherwise, whatever the gates said.
    """
    matrix = read_matrix(path.absolute())
    results = collect(matrix)
    rows = summarise(matrix, results)
    compared = differences(matrix, rows)
    summary = render_summary(rows, compared, matrix.reference)
    table = f"{summary}\n{render_runs(results)}"
    write_atomically(matrix.output / "matrix.md", table.encode())
    document = summary_document(rows, compared, matrix.reference)
    write_atomically(matrix.output / "matrix.json", document)
    gates = {v.gate for result in results for run in result.runs for v in run.verdicts}
    for gate in sorted(gates):
        plot = render_plot(results, gate=gate)
        name = gate.replace("/", "_")
        write_atomically(matrix.output / f"{name}.svg", plot.encode())
    say(table)
    missing = [
        f"{result.cell.name} seed {run.run.seed}"
        for result in results
        for run in result.runs
        if run.missing
    ]
    if missing:
        say(f"missing: {', '.join(missing)}", error=True)
    return ExitCode.ERROR if missing else ExitCode.PASSED
