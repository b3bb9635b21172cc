"""Carrying out a mask-log gate: verify, judge, say. No torch here."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fgmf.errors import FgmfError, InvalidInput
from fgmf.gates.mask_log_looks import Looks, looks_of
from fgmf.gates.specification import Progress
from fgmf.mask_log import LogOutcome, LogReport, VerifySettings, verify_log
from fgmf.mask_log.heads import LONGEST_TEXT, is_head_digest
from fgmf.mask_log.places import RESERVED, read_outside
from fgmf.mask_log.report import amount
from fgmf.seeding import derive_seed
from fgmf.verdict import Cost, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fgmf.gates.mask_log import MaskLogGate
    from fgmf.gates.specification import RunContext
    from fgmf.mask_log.decisions import DecisionJoin
    from fgmf.mask_log.report import Trouble
    from fgmf.types import Json

_SHOWN_TROUBLES: Final = 20
_HOUR: Final = 3_600_000
_CLOCKS_DIFFER: Final = 300_000
"""Milliseconds that a record may be ahead of our clock."""


def check_mask_log(
    gate: MaskLogGate,
    context: RunContext,
    *,
    state: Path | None = None,
    join: DecisionJoin | None = None,
) -> Verdict:
    """Carry out a mask-log gate; see :meth:`fgmf.gates.MaskLogGate.check`.

    Args:
        gate: What is asked for.
        context: Of the run.
        state: File outside the log that keeps how far the reading is, so that one that was
            interrupted goes on; not with spot checks, and not with `join`.
        join: Joins the streams of the agents of a team; None where the log is of one model.
    """
    started = time.perf_counter()
    verdict = Verdict(
        gate=gate.name or gate.kind,
        kind=gate.kind,
        outcome=Outcome.ERROR,
        reason="",
        reproduce=context.reproduce,
    )
    seed = derive_seed(context.run_seed, verdict.gate) if gate.seed is None else gate.seed
    looks = replace(looks_of(gate, context.directory / gate.path, seed=seed), join=join)
    try:
        report = _verified(gate, context, looks, state=state)
        if report.outcome is not LogOutcome.TAMPERED:
            looks.check_samples()
        if join is not None:
            join.finish()
        outcome, reason = judge_report(gate, report, looks, now=time.time_ns() // 1_000_000)
        verdict = replace(
            verdict,
            outcome=outcome,
            reason=reason,
            evidence={**evidence_of(gate, report), **looks.evidence(report)},
            seed=seed if gate.spot_checks else None,
        )
    except (FgmfError, OSError) as error:
        verdict = replace(verdict, reason=str(error))
    accepted = gate.inconclusive == "pass" and verdict.outcome is Outcome.INCONCLUSIVE
    cost = Cost(seconds=time.perf_counter() - started)
    return replace(verdict, cost=cost, accepted=accepted)


def judge_report(
    gate: MaskLogGate, report: LogReport, looks: Looks, *, now: int
) -> tuple[Outcome, str]:
    """Judge what a look at a log found.

    Args:
        gate: What is asked for.
        report: What was found.
        looks: What was seen of the masks.
        now: Milliseconds since 1970 (UTC).

    Returns:
        The outcome, and its reason in one line that stands alone.
    """
    conditions = looks.conditions(report)
    failure = _failure(gate, report, now) or looks.failure()
    if failure is not None:
        return Outcome.FAIL, failure
    for outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE):
        for condition in conditions:
            if condition.outcome is outcome:
                measured = "nothing" if condition.measured is None else f"{condition.measured:.4g}"
                name = condition.quantity.replace("_", " ")
                bound = condition.direction.replace("-", " ")
                return outcome, f"{name} {measured}, {bound} {condition.threshold:g} is asked for"
    open_question = _open_question(gate, report) or looks.open_question()
    if open_question is not None:
        return Outcome.INCONCLUSIVE, open_question
    return Outcome.PASS, _good_end(gate, report)


def evidence_of(gate: MaskLogGate, report: LogReport) -> dict[str, Json]:
    """Return what a verdict says about a log, beside its outcome."""
    head = report.head
    shown = report.troubles[:_SHOWN_TROUBLES]
    resumption = report.resumption
    return {
        "log": gate.path,
        "run": report.run,
        "log_outcome": str(report.outcome),
        "head": None if head is None else head.digest,
        "anchor": report.anchor,
        "anchored_records": report.anchored_records,
        "records": report.records,
        "samples": report.samples,
        "erased": report.erased,
        "streams": [stream.as_document() for stream in report.streams],
        "trouble_count": len(report.troubles),
        "troubles": [trouble.as_document() for trouble in shown],
        "trouble_lines": [str(trouble) for trouble in shown],
        **({} if resumption is None else {"resumption": resumption.as_document()}),
    }


def _verified(
    gate: MaskLogGate, context: RunContext, looks: Looks, *, state: Path | None
) -> LogReport:
    path, name = context.directory / gate.path, gate.name or gate.kind

    def report(done: int, total: int) -> None:
        if context.on_progress is not None:
            progress = Progress(gate=name, stage="reading the log", done=done, total=total)
            context.on_progress(progress)

    head = None if gate.head is None else outside_head(gate.head, context.directory, path)
    settings = VerifySettings(
        head=head,
        public_key=gate.public_key,
        on_progress=report,
        observers=looks.observers,
        state=state,
    )
    return verify_log(path, settings)


def outside_head(text: str, directory: Path, log: Path) -> str:
    """Return the head that a gate names: its digest, or what a file outside the log says.

    Args:
        text: As the gate names it.
        directory: That paths are relative to.
        log: Directory of the log, inside of which no such file may lie.

    Raises:
        InvalidInput: The file lies inside of the log.
        OSError: It cannot be read.
    """
    if is_head_digest(text):
        return text
    path = directory / text
    if path.resolve().is_relative_to(log.resolve()):
        message = "expected a head that is kept outside the log, got a file inside of it"
        raise InvalidInput(f"{message} ({text}); whoever rewrites the log rewrites it too")
    contents = read_outside(path, limit=LONGEST_TEXT).decode(errors="replace")
    return contents.strip() if is_head_digest(contents.strip()) else contents


def _failure(gate: MaskLogGate, report: LogReport, now: int) -> str | None:
    outcome = report.outcome
    if outcome is LogOutcome.TAMPERED or (outcome is LogOutcome.INCOMPLETE and gate.complete):
        return f"{outcome}: {_first_trouble(report)}"
    if report.erased > gate.max_erased:
        return f"{amount(report.erased, 'sample')} erased, and max_erased allows {gate.max_erased}"
    return None if gate.max_age_hours is None else _stale(report, gate.max_age_hours, now)


def _stale(report: LogReport, hours: float, now: int) -> str | None:
    """Say which stream is too old; every stream must be fresh, tombstones aside."""
    logged = [stream for stream in report.streams if stream.stream not in RESERVED]
    ages = {stream.stream: (now - (stream.last_at or 0)) / _HOUR for stream in logged}
    for stream in report.missing_streams or (() if ages else ("",)):
        where = f"stream {stream}" if stream else "the log"
        return f"{where} has no record, so that none is at most {hours:g} hours old"
    newest, oldest = min(ages, key=ages.__getitem__), max(ages, key=ages.__getitem__)
    if ages[newest] < -_CLOCKS_DIFFER / _HOUR:
        ahead = -ages[newest]
        return f"the last record of stream {newest} is dated {ahead:.3g} hours in the future"
    if ages[oldest] > hours:
        age = f"{ages[oldest]:.3g} hours old"
        return f"the last record of stream {oldest} is {age}, {hours:g} are allowed"
    return None


def _open_question(gate: MaskLogGate, report: LogReport) -> str | None:
    torn = [trouble for trouble in report.troubles if trouble.kind == "torn"]
    if torn:
        return f"torn: {_shown_troubles(torn)}; `fgmf log repair` cuts it off and says so"
    if not report.records:
        return "the log holds no record"
    if gate.complete and report.outcome is LogOutcome.SAMPLED:
        return "sampled: the manifest asks for a part of the passes, so the log is never complete"
    if gate.complete and report.outcome is LogOutcome.INTACT:
        names = ", ".join(report.open_ended) or "none"
        return f"intact, and the manifest fixes nothing that {names} must hold, so never complete"
    return None if gate.unanchored else _unanchored(gate, report)


def _unanchored(gate: MaskLogGate, report: LogReport) -> str | None:
    if report.anchor in {"head", "signature"}:
        return None
    if report.anchor == "none" and gate.public_key is not None:
        return f"{report.outcome}, and no head of the log is signed by the key that was given"
    if report.anchor == "none":
        return (
            f"{report.outcome}, and nothing from outside the log stands behind it: whoever can "
            "write it could have rewritten all of it; give `head` or `public_key`"
        )
    return (
        f"{report.outcome}, and the {report.anchor} covers {report.anchored_records} of "
        f"{report.records} records; give the head of now"
    )


def _good_end(gate: MaskLogGate, report: LogReport) -> str:
    counted = f"{amount(report.records, 'record')} of {amount(report.samples, 'sample')}"
    end = str(report.outcome) if gate.complete else "intact"
    parts = [f"{end}: {counted}"]
    if report.outcome is not LogOutcome.COMPLETE and not gate.complete:
        parts.append("completeness not asked for")
    if report.erased:
        parts.append(f"{report.erased} erased")
    if report.anchor == "none":
        parts.append("UNANCHORED")
    elif report.anchor not in {"head", "signature"}:
        covered = f"the {report.anchor} covers {report.anchored_records} of {report.records}"
        parts.append(f"UNANCHORED: {covered} records")
    else:
        parts.append(f"{report.anchor} from outside agrees")
    return ", ".join(parts)


def _first_trouble(report: LogReport) -> str:
    return _shown_troubles(report.troubles)


def _shown_troubles(troubles: Sequence[Trouble]) -> str:
    first, more = str(troubles[0]), len(troubles) - 1
    return first + (f" (and {more} more)" if more else "")
