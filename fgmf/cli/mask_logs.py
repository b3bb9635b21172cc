"""`fgmf log …`: verify a mask log, repair it after a crash, print its head."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fgmf.cli.checking import show_verdict
from fgmf.cli.exits import ExitCode, WrongUse, exit_code_of, say
from fgmf.cli.progress import ProgressLine
from fgmf.errors import InvalidGateFile, MaskLogUnreadable
from fgmf.gates.mask_log import MaskLogGate
from fgmf.gates.mask_log_check import check_mask_log
from fgmf.gates.specification import RunContext
from fgmf.mask_log.report import amount
from fgmf.reporting import render_details
from fgmf.verdict import Outcome, Verdict


@dataclass(frozen=True, kw_only=True)
class VerifyRequest:
    """The command line of `fgmf log verify`."""

    log: Path
    against: str | None = None
    public_key: str | None = None
    unanchored: bool = False
    integrity: bool = False
    max_erased: int = 0
    max_age_hours: float | None = None
    resume: Path | None = None


def run_verify(request: VerifyRequest) -> ExitCode:
    """Verify a log and say what came out: the same as a gate of kind `mask-log`.

    Raises:
        WrongUse: An option is not what it should be.
    """
    try:
        gate = MaskLogGate(
            name="log",
            path=str(request.log.absolute()),
            head=request.against,
            public_key=request.public_key,
            unanchored=request.unanchored,
            complete=not request.integrity,
            max_erased=request.max_erased,
            max_age_hours=request.max_age_hours,
        )
    except InvalidGateFile as error:
        raise WrongUse("; ".join(map(str, error.problems))) from None
    progress = ProgressLine()
    with progress.shown("log"):
        context = RunContext(on_progress=progress.update, directory=Path.cwd())
        verdict = check_mask_log(gate, context, state=request.resume)
    show_verdict(verdict)
    _say_resumption(verdict)
    if verdict.outcome is Outcome.PASS:
        for line in render_details(verdict).splitlines():
            say(f"    {line}")
    return exit_code_of([verdict])


def _say_resumption(verdict: Verdict) -> None:
    resumption = verdict.evidence.get("resumption")
    if isinstance(resumption, dict) and resumption["started_over"]:
        say(f"    started over: {resumption['started_over']}")
    elif isinstance(resumption, dict) and resumption["records"]:
        say(
            f"    went on: {resumption['records']} records were verified before, and their bytes "
            "are the same"
        )


def run_head(log: Path) -> ExitCode:
    """Print the head over the latest checkpoints of a log.

    Raises:
        MaskLogUnreadable: There is no log, or it has no checkpoint.
    """
    from fgmf.mask_log.keeping import current_head
    from fgmf.mask_log.manifest import read_manifest
    from fgmf.mask_log.places import open_log

    directory = open_log(log)
    head = current_head(directory, read_manifest(directory))
    if not head.streams:
        raise MaskLogUnreadable(f"expected a checkpoint in {log}, got none")
    say(head.text().rstrip())
    say(head.digest)
    return ExitCode.PASSED


def run_repair(log: Path) -> ExitCode:
    """Cut off what crashes left behind, and say what.

    Raises:
        BrokenRecord: Something else is wrong.
    """
    from fgmf.mask_log.repairing import repair_log

    repairs = repair_log(log)
    for repair in repairs:
        say(
            f"stream {repair.stream}: cut off after {amount(repair.records, 'record')}: "
            f"{amount(repair.line_bytes, 'byte')} of a record and {repair.pack_bytes} of arrays"
            f"{', an empty segment' if repair.segment else ''}"
        )
    if not repairs:
        say("nothing to repair")
    return ExitCode.PASSED


def run_erase(log: Path, sample: str, *, reason: str) -> ExitCode:
    """Erase a sample, and say what was erased.

    Raises:
        InvalidInput: The log does not hold the sample.
        BrokenRecord: The log is broken.
    """
    from fgmf.mask_log.erasing import erase_sample

    erasure = erase_sample(log, sample_id(sample), reason=reason)
    shared = f"; kept for others: {amount(erasure.shared, 'array')}" if erasure.shared else ""
    say(f"erased {amount(erasure.rows, 'row')} and {amount(erasure.arrays, 'array')}{shared}")
    say("copies, backups and snapshots of the directory are not reached")
    say(f"head: {erasure.head.digest}")
    return ExitCode.PASSED


def sample_id(text: str) -> int | str:
    """Read the id of a sample: digits are a number, as they are where ids are counted."""
    return int(text) if text.removeprefix("-").isdecimal() else text


def run_keygen(path: Path, *, name: str) -> ExitCode:
    """Make a secret key, and print the verifier key.

    Raises:
        InvalidInput: The name is none.
        MissingDependency: The package cryptography is not there.
    """
    from fgmf.mask_log.signing import write_key

    say(write_key(path, name=name).text())
    return ExitCode.PASSED


def run_sign(log: Path, key: Path) -> ExitCode:
    """Sign the current head of a log, and print its digest.

    Raises:
        InvalidInput: The key is none.
        MissingDependency: The package cryptography is not there.
    """
    from fgmf.mask_log.keeping import keep_head
    from fgmf.mask_log.manifest import read_manifest
    from fgmf.mask_log.places import open_log
    from fgmf.mask_log.signing import Signer

    directory = open_log(log)
    head = keep_head(directory, read_manifest(directory), signer=Signer.from_file(key))
    say(head.digest)
    return ExitCode.PASSED
