"""`fgmf matrix`: train and gate one cell of a benchmark matrix, and collect all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer  # noqa: TID253 - only the console script imports this module

from fgmf.cli.exits import exits

matrix_application = typer.Typer(
    name="matrix",
    no_args_is_help=True,
    help="A benchmark matrix: backbone x defence x threat model.",
)

MatrixArgument = Annotated[Path, typer.Argument(metavar="MATRIX", help="Matrix file.")]


@matrix_application.command(name="run")
def run_one(
    matrix: MatrixArgument,
    cell: Annotated[str, typer.Argument(help="BACKBONE-DEFENCE-THREAT, as tox names it.")],
    *,
    restart: Annotated[
        bool, typer.Option("--restart", help="Throw an earlier training of the cell away.")
    ] = False,
) -> None:
    """Train the model of a cell and run its gates; a finished training is not repeated."""
    with exits():
        from fgmf.cli.matrices import run_cell

        raise typer.Exit(run_cell(matrix, cell, restart=restart))


@matrix_application.command(name="list")
def list_cells(matrix: MatrixArgument) -> None:
    """Print the names of all cells, one a line."""
    with exits():
        from fgmf.cli.matrices import list_names

        raise typer.Exit(list_names(matrix))


@matrix_application.command()
def table(matrix: MatrixArgument) -> None:
    """Collect all cells into one table and one plot per gate; a missing cell is an error."""
    with exits():
        from fgmf.cli.matrices import collect_cells

        raise typer.Exit(collect_cells(matrix))
