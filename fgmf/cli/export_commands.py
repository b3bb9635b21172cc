"""The commands about exported files and their options; what they do lives in `exports`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

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


def export(  # noqa: PLR0913 - one parameter per option
    output: Annotated[
        Path, typer.Argument(metavar="FILE", help="The .onnx or .tflite file to write.")
    ],
    gate_file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[GATEFILE]",
            help="Gate file with the model and its images, or its directory.",
            show_default=False,
        ),
    ] = None,
    *,
    model: Annotated[
        str | None, typer.Option(help="Name of the model, where the file has several.")
    ] = None,
    images: Annotated[
        int, typer.Option(min=2, help="How many images the file is held against the model on.")
    ] = 64,
    compact: Annotated[
        bool, typer.Option("--compact", help="Take dead channels, heads and units out first.")
    ] = False,
    accept_refusals: Annotated[
        bool,
        typer.Option("--accept-refusals", help="Leave dead units that cannot be taken out."),
    ] = False,
    storage: Annotated[
        Literal["dense", "sparse"],
        typer.Option(help="sparse stores weights with many zeros by their places: no speed."),
    ] = "dense",
    normalization: Annotated[
        Literal["baked", "outside"],
        typer.Option(help="Whether the file normalises images itself."),
    ] = "baked",
    int8: Annotated[
        bool, typer.Option("--int8", help="Write the INT8 form: another model, to be gated.")
    ] = False,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Images for --int8, training ones: an .npz file or a folder."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="JSON report of gates on this model, whose verdicts are recorded."),
    ] = None,
    log: Annotated[
        Path | None, typer.Option(metavar="LOG", help="Mask log of the run, to name the file in.")
    ] = None,
    sign: Annotated[
        Path | None,
        typer.Option(metavar="KEY", help="Secret key (fgmf log keygen) to sign the file with."),
    ] = None,
) -> None:
    """Write the model of a gate file as a file to ship, with its provenance."""
    with exits():
        from fgmf.cli.exporting import ExportRequest, run_export

        request = ExportRequest(
            output=output,
            gate_file=gate_file,
            model=model,
            images=images,
            compact=compact,
            accept_refusals=accept_refusals,
            storage=storage,
            normalization=normalization,
            int8=int8,
            calibration=calibration,
            report=report,
            log=log,
            sign=sign,
        )
        raise typer.Exit(run_export(request))


def latency(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Exported files; the first is the yardstick."),
    ],
    *,
    engine: Annotated[
        list[str] | None,
        typer.Option(help="onnxruntime, openvino or litert; all that run the files by default."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=5, help="How often all are measured.")] = 31,
    repeats: Annotated[int, typer.Option(min=1, help="Calls in each measurement.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of the order within each round.")] = 0,
    report: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Write all of it as JSON.")
    ] = None,
) -> None:
    """Compare sizes and CPU times of exported files, with an A/A control."""
    with exits():
        from fgmf.cli.timing import LatencyRequest, run_latency

        request = LatencyRequest(
            files=tuple(files),
            engines=tuple(engine or ()),
            rounds=rounds,
            repeats=repeats,
            seed=seed,
            report=report,
        )
        raise typer.Exit(run_latency(request))
