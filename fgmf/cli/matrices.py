"""What the commands of `fgmf matrix` do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.canonical import write_atomically
from fgmf.cli.checking import CheckRequest, run_check
from fgmf.cli.exits import ExitCode, say
from fgmf.cli.training import run_train
from fgmf.matrix import collect, read_matrix, render_matrix, render_plot, write_cell
from fgmf.matrix.collecting import REPORT
from fgmf.running import importing_from

if TYPE_CHECKING:
    from pathlib import Path


def run_cell(path: Path, name: str, *, restart: bool) -> ExitCode:
    """Train and gate one cell.

    Args:
        path: Matrix file.
        name: Of the cell.
        restart: Throw an earlier training away.

    Returns:
        That of the training where it was stopped, else that of the gates.

    Raises:
        InvalidGateFile: The matrix file, or the gate file made of it, is broken.
        InvalidRecipeFile: The recipe made of it is broken.
    """
    matrix = read_matrix(path.absolute())
    cell = matrix.cell(name)
    (cell.directory / REPORT).unlink(missing_ok=True)
    recipe, gates = write_cell(matrix, cell)
    with importing_from(matrix.path.parent):  # factories lie beside the matrix file
        trained = run_train(recipe, restart=restart)
        if trained is not ExitCode.PASSED:
            return trained
        return run_check(CheckRequest(path=gates, reports=(f"json:{cell.directory / REPORT}",)))


def list_names(path: Path) -> ExitCode:
    """Print the names of all cells."""
    for cell in read_matrix(path.absolute()).cells:
        say(cell.name)
    return ExitCode.PASSED


def collect_cells(path: Path) -> ExitCode:
    """Write the table and a plot per gate beside the cells.

    Returns:
        ERROR if a cell is missing; PASSED otherwise, whatever the gates said.
    """
    matrix = read_matrix(path.absolute())
    results = collect(matrix)
    table = render_matrix(results)
    write_atomically(matrix.output / "matrix.md", table.encode())
    for gate in sorted({v.gate for result in results for v in result.verdicts}):
        plot = render_plot(results, gate=gate)
        name = gate.replace("/", "_")
        write_atomically(matrix.output / f"{name}.svg", plot.encode())
    say(table)
    missing = [result.cell.name for result in results if result.missing]
    if missing:
        say(f"missing: {', '.join(missing)}", error=True)
    return ExitCode.ERROR if missing else ExitCode.PASSED
