"""The commands about reports and schemas: they measure nothing and load no model."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import Annotated, Literal

import typer  # noqa: TID253 - only the console script imports this module

from fgmf.cli.exits import exits

report_application = typer.Typer()

LimitsOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="LIMIT",
        help="The most that a gate may lose: robust_accuracy:2pp, robust_accuracy:5% or "
        "robust_accuracy:significant. Can be repeated.",
    ),
]


@report_application.command(name="compare")
def compare_files(
    before: Annotated[
        Path, typer.Argument(metavar="A", help="JSON report, baseline, or directory of baselines.")
    ],
    now: Annotated[Path, typer.Argument(metavar="B", help="The same, later.")],
    *,
    fail: LimitsOption = None,
) -> None:
    """Say what changed from A to B, image by image."""
    with exits():
        from fgmf.cli.baselines import run_compare

        raise typer.Exit(run_compare(before, now, limits=tuple(fail or ())))


@report_application.command()
def evidence(  # noqa: PLR0913 - one parameter per option
    report: Annotated[Path, typer.Argument(help="JSON report of a run.")],
    form: Annotated[
        Literal["in-toto", "cyclonedx", "model-card"], typer.Argument(help="What is made of it.")
    ],
    *,
    output: Annotated[Path, typer.Option(help="File to write.")],
    key: Annotated[
        Path | None, typer.Option(help="Secret key of `fgmf log keygen`; signs the statement.")
    ] = None,
    subject: Annotated[
        list[Path] | None,
        typer.Option(help="File that the statement is about, such as weights. Can be repeated."),
    ] = None,
    url: Annotated[str, typer.Option(help="Of the run.")] = "",
    model: Annotated[str, typer.Option(help="Name of the model.")] = "model",
    dataset: Annotated[str, typer.Option(help="Name of the data set.")] = "held-out images",
) -> None:
    """Turn a report into a statement, a bill of materials or a model card."""
    with exits():
        from fgmf.cli.evidencing import EvidenceRequest, run_evidence

        request = EvidenceRequest(
            report=report,
            form=form,
            output=output,
            key=key,
            subjects=tuple(subject or ()),
            url=url,
            model=model,
            dataset=dataset,
        )
        raise typer.Exit(run_evidence(request))


@report_application.command()
def check_evidence(
    envelope: Annotated[Path, typer.Argument(help="Signed statement.")],
    *,
    public_key: Annotated[str, typer.Option(help="Verifier key, from elsewhere.")],
) -> None:
    """Check the signature of a statement, and say what it says."""
    with exits():
        from fgmf.cli.evidencing import run_check_evidence

        raise typer.Exit(run_check_evidence(envelope, public_key=public_key))


@report_application.command()
def schema(
    document: Annotated[Literal["gatefile", "recipe", "report"], typer.Argument(help="Which one.")],
) -> None:
    """Print the JSON Schema of the gate file or a recipe file (for editors), or of the report."""
    with exits():
        import json

        from fgmf.gatefile import json_schema
        from fgmf.pipeline import recipe_schema
        from fgmf.reporting import report_schema

        schemas = {"gatefile": json_schema, "recipe": recipe_schema, "report": report_schema}
        typer.echo(json.dumps(schemas[document](), indent=2))
