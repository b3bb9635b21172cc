"""The commands `fgmf log …` and their options; what they do lives in `mask_logs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer  # noqa: TID253 - only the console script imports this module

from fgmf.cli.exits import exits

log_application = typer.Typer(
    name="log",
    no_args_is_help=True,
    add_completion=False,
    help="Mask logs: verify an audit trail of saliency masks, and look at it.",
)

LogArgument = Annotated[Path, typer.Argument(metavar="LOG", help="Directory of the mask log.")]
AgainstOption = Annotated[
    str | None,
    typer.Option(
        metavar="HEAD",
        help="Head that was kept outside the log: sha256:..., or a file with its text.",
    ),
]


@log_application.command()
def verify(
    log: LogArgument,
    *,
    against: AgainstOption = None,
    unanchored: Annotated[
        bool, typer.Option("--unanchored", help="Pass without anything from outside the log.")
    ] = False,
    integrity: Annotated[
        bool, typer.Option("--integrity", help="Don't ask whether everything is there.")
    ] = False,
    max_erased: Annotated[
        int, typer.Option(min=0, help="Most samples that may have been erased.")
    ] = 0,
    max_age_hours: Annotated[
        float | None, typer.Option(help="Most hours since the last record.")
    ] = None,
) -> None:
    """Say whether a log is what it was, and whether everything is there."""
    with exits():
        from fgmf.cli.mask_logs import VerifyRequest, run_verify

        request = VerifyRequest(
            log=log,
            against=against,
            unanchored=unanchored,
            integrity=integrity,
            max_erased=max_erased,
            max_age_hours=max_age_hours,
        )
        raise typer.Exit(run_verify(request))


@log_application.command()
def repair(log: LogArgument) -> None:
    """Cut off what a crash left behind after the last record, and say so in the log."""
    with exits():
        from fgmf.cli.mask_logs import run_repair

        raise typer.Exit(run_repair(log))


@log_application.command()
def erase(
    log: LogArgument,
    *,
    sample: Annotated[str, typer.Option(help="Id of the sample.")],
    reason: Annotated[str, typer.Option(help="Stands in the tombstone; name nobody.")],
) -> None:
    """Erase what a log holds of a sample, and leave tombstones; print the new head."""
    with exits():
        from fgmf.cli.mask_logs import run_erase

        raise typer.Exit(run_erase(log, sample, reason=reason))


@log_application.command()
def prove(
    log: LogArgument,
    *,
    head: Annotated[str, typer.Option(help="Digest of the head that the proof is for.")],
    sample: Annotated[
        str | None, typer.Option(help="Id of the sample whose record is to be proved.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Digest of an earlier head: prove that it is a beginning.")
    ] = None,
    stream: Annotated[str | None, typer.Option(help="Stream of the sample.")] = None,
    output: Annotated[Path, typer.Option(help="Where the proof is written.")] = Path("proof.json"),
) -> None:
    """Write a proof that a sample was logged, or that an earlier log is a beginning of this one."""
    with exits():
        from fgmf.cli.mask_log_proofs import ProofRequest, run_prove

        request = ProofRequest(
            log=log, head=head, sample=sample, since=since, stream=stream, output=output
        )
        raise typer.Exit(run_prove(request))


@log_application.command()
def check_proof(
    proof: Annotated[Path, typer.Argument(metavar="PROOF", help="File of the proof.")],
    heads: Annotated[
        list[str],
        typer.Argument(metavar="HEAD [LATER]", help="Digest of the head; of both for --since."),
    ],
) -> None:
    """Say whether a proof holds; needs no log."""
    with exits():
        from fgmf.cli.mask_log_proofs import run_check_proof

        raise typer.Exit(run_check_proof(proof, heads))


@log_application.command()
def head(log: LogArgument) -> None:
    """Print the head of a log, to be kept elsewhere: its text, and its digest in the last line."""
    with exits():
        from fgmf.cli.mask_logs import run_head

        raise typer.Exit(run_head(log))
