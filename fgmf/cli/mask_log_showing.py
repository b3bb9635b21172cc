"""`fgmf log show` and `fgmf log export`: a table of samples, pages with their masks, an index."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Final

from fgmf.cli.exits import ExitCode, WrongUse, say
from fgmf.cli.mask_logs import sample_id
from fgmf.mask_log import verify_log
from fgmf.mask_log.samples import SampleFilter, read_samples
from fgmf.reporting.table import aligned
from fgmf.reporting.text import printable

if TYPE_CHECKING:
    from pathlib import Path

    from fgmf.mask_log.samples import LoggedSample

_COLUMNS: Final = (
    "stream",
    "record",
    "row",
    "step",
    "pass",
    "purpose",
    "time",
    "sample",
    "prediction",
    "input",
    "weights",
)
_RIGHT: Final = frozenset({1, 2, 3, 4})


@dataclass(frozen=True, kw_only=True)
class ShowRequest:
    """The command line of `fgmf log show`."""

    log: Path
    stream: str | None = None
    sample: str | None = None
    steps: str | None = None
    purpose: str | None = None
    limit: int = 50
    skip: int = 0
    html: Path | None = None
    page_size: int = 100


def run_show(request: ShowRequest) -> ExitCode:
    """Show samples of a log.

    Raises:
        WrongUse: Steps that are none.
        BrokenRecord: The log is broken.
        MaskLogUnreadable: There is no log.
    """
    samples = islice(read_samples(request.log, _filter(request)), request.skip, None)
    if request.html is not None:
        from fgmf.reporting.mask_log_pages import write_pages

        report = verify_log(request.log)
        facts = {
            "run": report.run,
            "log": str(report.outcome),
            "head": "none" if report.head is None else report.head.digest,
            "records": str(report.records),
            "samples": str(report.samples),
        }
        pages = write_pages(samples, request.html, size=request.page_size, facts=facts)
        say(f"{len(pages)} pages: {pages[0]}")
        return ExitCode.PASSED
    shown = [_row(sample) for sample in islice(samples, request.limit)]
    say(aligned([_COLUMNS, *shown], right=_RIGHT))
    if next(samples, None) is not None:
        say(f"more samples follow: --skip {request.skip + len(shown)}, or --limit")
    return ExitCode.PASSED


def run_export(log: Path, output: Path) -> ExitCode:
    """Write the index of a log.

    Raises:
        InvalidInput: The file is there, or of an unknown kind.
        BrokenRecord: The log is broken.
    """
    from fgmf.mask_log.exporting import export_index

    say(f"{export_index(log, output)} rows: {output}")
    return ExitCode.PASSED


def _filter(request: ShowRequest) -> SampleFilter:
    first, last = None, None
    if request.steps is not None:
        low, colon, high = request.steps.partition(":")
        if not all(part.isdecimal() or (colon and not part) for part in (low, high or low)):
            raise WrongUse(f"expected --steps as A, A:B, A: or :B, got {request.steps!r}")
        first = int(low) if low else None
        last = (int(high) if high else None) if colon else first
    return SampleFilter(
        stream=request.stream,
        sample=None if request.sample is None else sample_id(request.sample),
        first_step=first,
        last_step=last,
        purpose=request.purpose,
    )


def _row(sample: LoggedSample) -> tuple[str, ...]:
    time = datetime.fromtimestamp(sample.at / 1000, UTC)
    return (
        printable(sample.stream),
        str(sample.record),
        str(sample.row),
        str(sample.body["step"]),
        str(sample.body["pass"]),
        printable(sample.body["purpose"]),
        time.strftime("%Y-%m-%d %H:%M:%S"),
        "(erased)" if sample.sample is None else printable(str(sample.sample)),
        "-" if sample.prediction is None else str(sample.prediction),
        sample.input_digest.removeprefix("sha256:")[:12] or "-",
        (sample.body["weights"] or "-")[:12],
    )
