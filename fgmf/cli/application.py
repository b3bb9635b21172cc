"""The commands and their options; what they do lives in the modules beside this one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer  # noqa: TID253 - only the console script imports this module

from fgmf.cli.exits import ExitCode, exits
from fgmf.cli.export_commands import export, latency, verify_export
from fgmf.cli.mask_log_commands import log_application
from fgmf.cli.matrix_commands import matrix_application
from fgmf.cli.report_commands import LimitsOption, report_application
from fgmf.cli.services import ServiceName  # noqa: TC001 - typer reads it

application = typer.Typer(
    name="fgmf",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help=(
        "Gates on adversarial robustness, without pytest.\n\nExit codes: 0 passed, 1 failed, "
        "2 wrong use, 3 inconclusive, 4 gate or recipe file missing or broken, 5 could not be "
        "measured, "
        "130 interrupted."
    ),
)

application.add_typer(log_application)
application.add_typer(matrix_application)
application.add_typer(report_application)
for command in (export, verify_export, latency):
    application.command()(command)

GateFileArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[GATEFILE]",
        help="Gate file, or a directory with one. Default: fgmf.toml here, or [tool.fgmf] in "
        "pyproject.toml.",
        show_default=False,
    ),
]
ProfileOption = Annotated[
    str | None,
    typer.Option(help="Profile; by default ci if the environment variable CI is set."),
]
SeedOption = Annotated[
    int | None, typer.Option(min=0, max=2**63 - 1, help="Run seed instead of the file's.")
]
DeviceOption = Annotated[str | None, typer.Option(help="Device of every model.")]
ReportOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FORM:PATH",
        help="Write a report of all verdicts: json:PATH, markdown:PATH or html:PATH. Can be "
        "repeated.",
    ),
]
TracebackOption = Annotated[
    bool, typer.Option("--traceback", help="Show where an error was raised.")
]
BatchSizeOption = Annotated[int | None, typer.Option(min=1, help="Batch size of every model.")]


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback
    if wanted:
        from fgmf import __version__

        typer.echo(f"fgmf {__version__}")
        raise typer.Exit


@application.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Hold the options that come before a command; the application's help is shown instead."""


@application.command()
def check(  # noqa: PLR0913 - one parameter per option
    gate_file: GateFileArgument = None,
    *,
    gate: Annotated[
        list[str] | None,
        typer.Option(help="Run only this gate, or all variants of it. Can be repeated."),
    ] = None,
    profile: ProfileOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    batch_size: BatchSizeOption = None,
    report: ReportOption = None,
    no_save_failures: Annotated[
        bool, typer.Option("--no-save-failures", help="Write no broken images to .fgmf.")
    ] = False,
    cache: Annotated[
        bool,
        typer.Option(
            "--cache", help="Keep outcomes per image in .fgmf/cache, and attack what is new."
        ),
    ] = False,
    traceback: TracebackOption = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare every gate with its baseline.")
    ] = False,
    compare_fail: LimitsOption = None,
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Write baselines after the run.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write them in CI, too.")] = False,
    baselines: Annotated[
        Path | None,
        typer.Option(help="Directory of the baselines; .fgmf/baselines beside the gate file."),
    ] = None,
    history: Annotated[
        Path | None, typer.Option(help="Append what gates measured to this file (.jsonl).")
    ] = None,
) -> None:
    """Run the gates of a gate file."""
    with exits():
        from fgmf.cli.baselines import ComparisonRequest
        from fgmf.cli.checking import CheckRequest, run_check

        request = CheckRequest(
            path=gate_file,
            gates=tuple(gate or ()),
            profile=profile,
            seed=seed,
            device=device,
            batch_size=batch_size,
            reports=tuple(report or ()),
            save_failures=not no_save_failures,
            cache=cache,
            traceback=traceback,
            baselines=ComparisonRequest(
                directory=baselines,
                compare=compare,
                limits=tuple(compare_fail or ()),
                update=update_baseline,
                force=force,
            ),
            history=history,
        )
        raise typer.Exit(run_check(request))


@application.command()
def preflight(
    gate_file: GateFileArgument = None,
    *,
    profile: ProfileOption = None,
    device: DeviceOption = None,
    batch_size: BatchSizeOption = None,
) -> None:
    """Look for mistakes in how models and data are used, without running a gate."""
    with exits():
        from fgmf.cli.preflighting import run_preflight

        code = run_preflight(gate_file, profile=profile, device=device, batch_size=batch_size)
        raise typer.Exit(code)


@application.command()
def init(
    *,
    model: Annotated[
        str | None, typer.Option(metavar="PKG.MOD:FACTORY", help="Model factory, or ONNX file.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="PKG.MOD:FACTORY", help="Data factory, .npz file or image folder."),
    ] = None,
    output: Annotated[Path, typer.Option(help="Where the gate file is written.")] = Path(
        "fgmf.toml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    ci: Annotated[
        ServiceName | None,
        typer.Option(help="Copy a file for a CI service, too; a gate file that is there stays."),
    ] = None,
) -> None:
    """Write a commented gate file after a look at the model and the data."""
    with exits():
        from fgmf.cli.services import write_service
        from fgmf.cli.starting import is_started, run_init

        code = ExitCode.PASSED
        if ci is None or not is_started(output):
            code = run_init(output, model=model, data=data, force=force)
        if ci is not None:
            write_service(ci, output.absolute().parent, force=force)
        raise typer.Exit(code)


@application.command(name="list")
def list_gates(gate_file: GateFileArgument = None, *, profile: ProfileOption = None) -> None:
    """Show the gates of a gate file and what they ask, without loading anything."""
    with exits():
        from fgmf.cli.listing import run_list

        raise typer.Exit(run_list(gate_file, profile=profile))


@application.command()
def replay(
    directory: Annotated[
        Path, typer.Argument(help="Saved failures of a gate, or a directory of such.")
    ],
    *,
    gate_file: Annotated[
        Path | None,
        typer.Option(help="Gate file that names the model; by default the recorded."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, max=2**63 - 1, help="Seed of the repeated attack instead of the recorded one."
        ),
    ] = None,
    device: DeviceOption = None,
    batch_size: BatchSizeOption = None,
    traceback: TracebackOption = False,
) -> None:
    """Show saved adversarial examples to the model again, and repeat the attack."""
    with exits():
        from fgmf.cli.replaying import ReplayRequest, run_replay

        request = ReplayRequest(
            directory=directory,
            gate_file=gate_file,
            seed=seed,
            device=device,
            batch_size=batch_size,
            traceback=traceback,
        )
        raise typer.Exit(run_replay(request))


@application.command()
def selftest(  # noqa: PLR0913 - one parameter per option
    gate_file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[GATEFILE]",
            help="Gate file, or a directory with one, whose robustness gates' attacks are tested. "
            "Without it the installation is tested.",
            show_default=False,
        ),
    ] = None,
    *,
    gate: Annotated[
        list[str] | None,
        typer.Option(help="Test the attacks of this gate only. Can be repeated."),
    ] = None,
    profile: ProfileOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    batch_size: BatchSizeOption = None,
    report: ReportOption = None,
    traceback: TracebackOption = False,
) -> None:
    """Test whether attacks find what is known to be there."""
    with exits():
        from fgmf.cli.checking import CheckRequest
        from fgmf.cli.selftesting import run_selftest

        request = CheckRequest(
            command="selftest",
            path=gate_file,
            gates=tuple(gate or ()),
            profile=profile,
            seed=seed,
            device=device,
            batch_size=batch_size,
            reports=tuple(report or ()),
            save_failures=False,
            traceback=traceback,
        )
        raise typer.Exit(run_selftest(request))


@application.command()
def explain(  # noqa: PLR0913 - one parameter per option
    gate_file: GateFileArgument = None,
    *,
    model: Annotated[
        str | None, typer.Option(help="Name of the model, where the file has several.")
    ] = None,
    explainer: Annotated[str, typer.Option(help="Name of the explainer.")] = "pgca",
    parameter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A parameter of the explainer. Can be repeated."),
    ] = None,
    images: Annotated[
        int, typer.Option(min=1, help="How many images, from the first of the data on.")
    ] = 8,
    target: Annotated[
        Literal["predicted", "label"], typer.Option(help="Which class is explained.")
    ] = "predicted",
    output: Annotated[
        Path | None,
        typer.Option(help="Directory to write to; .fgmf/explanations/EXPLAINER by default."),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Score other explainers beside it.")
    ] = False,
    seed: SeedOption = None,
    device: DeviceOption = None,
    batch_size: BatchSizeOption = None,
) -> None:
    """Show what a model's decisions rest on: heat maps, stages, curves."""
    with exits():
        from fgmf.cli.explaining import ExplainRequest, run_explain

        request = ExplainRequest(
            path=gate_file,
            model=model,
            explainer=explainer,
            parameters=tuple(parameter or ()),
            images=images,
            target=target,
            output=output,
            compare=compare,
            seed=seed,
            device=device,
            batch_size=batch_size,
        )
        raise typer.Exit(run_explain(request))


@application.command()
def diagnose(  # noqa: PLR0913 - one parameter per option
    gate_file: GateFileArgument = None,
    *,
    gate: Annotated[
        list[str] | None, typer.Option(help="Examine this gate only. Can be repeated.")
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(metavar="DIRECTORY", help="Draw the evidence of each gate as a PNG there."),
    ] = None,
    profile: ProfileOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    batch_size: BatchSizeOption = None,
    report: ReportOption = None,
    traceback: TracebackOption = False,
) -> None:
    """Examine whether models mask their gradients, with all evidence."""
    with exits():
        from fgmf.cli.checking import CheckRequest
        from fgmf.cli.diagnosing import run_diagnose

        request = CheckRequest(
            command="diagnose",
            path=gate_file,
            gates=tuple(gate or ()),
            profile=profile,
            seed=seed,
            device=device,
            batch_size=batch_size,
            reports=tuple(report or ()),
            save_failures=False,
            traceback=traceback,
        )
        raise typer.Exit(run_diagnose(request, pictures=pictures))


@application.command()
def train(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE", help="Recipe file, such as recipe.toml.")
    ],
    *,
    restart: Annotated[
        bool, typer.Option("--restart", help="Throw an earlier training in its output away.")
    ] = False,
) -> None:
    """Train a model by a recipe file; a training that was cut off goes on where it was."""
    with exits():
        from fgmf.cli.training import run_train

        raise typer.Exit(run_train(recipe, restart=restart))
