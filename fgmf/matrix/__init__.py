"""A benchmark matrix of a model repository: backbone x defence x threat model, one cell each.

    matrix file -> for each seed of a cell: a recipe file and a gate file of its own (`cells`)
    runs that were trained and gated -> what each said (`collecting`), a row per cell and paired
    differences (`summary`), a drawing (`plot`)

Training and gates themselves are those of `fgmf train` and `fgmf check`. No torch.
"""

from __future__ import annotations

from fgmf.matrix.cells import Cell, CellRun, Matrix, read_matrix, write_run
from fgmf.matrix.collecting import CellResult, RunResult, collect, render_runs
from fgmf.matrix.plot import render_plot
from fgmf.matrix.summary import (
    Difference,
    Row,
    differences,
    render_summary,
    summarise,
    summary_document,
)

__all__ = [
    "Cell",
    "CellResult",
    "CellRun",
    "Difference",
    "Matrix",
    "Row",
    "RunResult",
    "collect",
    "differences",
    "read_matrix",
    "render_plot",
    "render_runs",
    "render_summary",
    "summarise",
    "summary_document",
    "write_run",
]
