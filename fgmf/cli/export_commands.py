"""The commands about exported files and their options; what they do lives in `exports`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer  # noqa: TID253 - only the console script imports this module

from fgmf.cli.exits import exits

FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The exported .onnx or .tflite file.")
]


def verify_export(
    artefact: FileArgument,
    *,
    log: Annotated[
        Path | None, typer.Option(metavar="LOG", help="Mask log that names the file.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="HEAD",
            help="Head of that log, kept outside of it: sha256:..., or a file with its text.",
        ),
    ] = None,
    public_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Verifier key, of the log's writer or of the signature."),
    ] = None,
    signature: Annotated[
        Path | None, typer.Option(help="File of the signature; FILE.sig by default.")
    ] = None,
    gate: Annotated[
        list[str] | None,
        typer.Option(help="This gate must be recorded as passed. Can be repeated."),
    ] = None,
) -> None:
    """Say whether an exported file is what was gated: its graph, weights and metadata."""
    with exits():
        from fgmf.cli.exports import VerifyExportRequest, run_verify_export

        request = VerifyExportRequest(
            artefact=artefact,
            log=log,
            against=against,
            public_key=public_key,
            signature=signature,
            gates=tuple(gate or ()),
        )
        raise typer.Exit(run_verify_export(request))
