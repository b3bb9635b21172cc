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
def verify(  # noqa: PLR0913 - one parameter per option
    log: LogArgument,
    *,
    against: AgainstOption = None,
    public_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Verifier key of the writer, instead.")
    ] = None,
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
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="STATE",
            help="File outside the log that keeps how far it is: go on after an interruption.",
        ),
    ] = None,
) -> None:
    """Say whether a log is what it was, and whether everything is there."""
    with exits():
        from fgmf.cli.mask_logs import VerifyRequest, run_verify

        request = VerifyRequest(
            log=log,
            against=against,
            public_key=public_key,
            unanchored=unanchored,
            integrity=integrity,
            max_erased=max_erased,
            max_age_hours=max_age_hours,
            resume=resume,
        )
        raise typer.Exit(run_verify(request))


@log_application.command()
def show(  # noqa: PLR0913 - one parameter per option
    log: LogArgument,
    *,
    stream: Annotated[str | None, typer.Option(help="Only this stream.")] = None,
    sample: Annotated[str | None, typer.Option(help="Only this sample.")] = None,
    steps: Annotated[str | None, typer.Option(help="Only these steps: A, A:B, A: or :B.")] = None,
    purpose: Annotated[str | None, typer.Option(help="Only passes of this purpose.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most samples in the table.")] = 50,
    skip: Annotated[int, typer.Option(min=0, help="Samples that are passed over.")] = 0,
    html: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write pages with the masks of all of them, instead."),
    ] = None,
    page_size: Annotated[int, typer.Option(min=1, help="Samples on a page.")] = 100,
) -> None:
    """Show the samples of a log: a table, or pages with their masks."""
    with exits():
        from fgmf.cli.mask_log_showing import ShowRequest, run_show

        request = ShowRequest(
            log=log,
            stream=stream,
            sample=sample,
            steps=steps,
            purpose=purpose,
            limit=limit,
            skip=skip,
            html=html,
            page_size=page_size,
        )
        raise typer.Exit(run_show(request))


@log_application.command()
def export(
    log: LogArgument,
    *,
    output: Annotated[Path, typer.Option(help="New file: .sqlite, or .parquet.")],
) -> None:
    """Write the index of a log, without its arrays, for queries."""
    with exits():
        from fgmf.cli.mask_log_showing import run_export

        raise typer.Exit(run_export(log, output))


@log_application.command()
def keygen(
    key: Annotated[Path, typer.Argument(metavar="FILE", help="New file for the secret key.")],
    *,
    name: Annotated[str, typer.Option(help="Whose key it is; no spaces.")],
) -> None:
    """Make a key that signs heads; print the verifier key."""
    with exits():
        from fgmf.cli.mask_logs import run_keygen

        raise typer.Exit(run_keygen(key, name=name))


@log_application.command()
def sign(
    log: LogArgument,
    *,
    key: Annotated[Path, typer.Option(help="File of the secret key.")],
) -> None:
    """Sign the head of a log; print it."""
    with exits():
        from fgmf.cli.mask_logs import run_sign

        raise typer.Exit(run_sign(log, key))


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
    *,
    sample: Annotated[
        str | None, typer.Option(help="Id of the sample that the proof must be about.")
    ] = None,
) -> None:
    """Say whether a proof holds, and about which sample; needs no log."""
    with exits():
        from fgmf.cli.mask_log_proofs import run_check_proof

        raise typer.Exit(run_check_proof(proof, heads, sample=sample))


@log_application.command()
def head(log: LogArgument) -> None:
    """Print the head of a log, to be kept elsewhere: its text, and its digest in the last line."""
    with exits():
        from fgmf.cli.mask_logs import run_head

        raise typer.Exit(run_head(log))
