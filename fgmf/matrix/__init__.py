"""A benchmark matrix of a model repository: backbone x defence x threat model, one cell each.

    matrix file -> for a cell: a recipe file and a gate file of its own (`cells`)
    cells that were trained and gated -> one table and one plot (`collecting`, `plot`)

Training and gates themselves are those of `fgmf train` and `fgmf check`. No torch.
"""

from __future__ import annotations

from fgmf.matrix.cells import Cell, Matrix, read_matrix, write_cell
from fgmf.matrix.collecting import CellResult, collect, render_matrix
from fgmf.matrix.plot import render_plot

__all__ = [
    "Cell",
    "CellResult",
    "Matrix",
    "collect",
    "read_matrix",
    "render_matrix",
    "render_plot",
    "write_cell",
]
