"""The end of a run: requirements, reports, exit status. Only where reports are gathered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from pytest_fgmf.outcomes import Record, failed_report
from pytest_fgmf.remembering import remember
from pytest_fgmf.required import unmet_requirements

if TYPE_CHECKING:
    from fgmf.reporting.targets import ReportTarget
    from fgmf.types import Json
    from pytest_fgmf.session import GateSession

_FINISHED: Final = (
    pytest.ExitCode.OK,
    pytest.ExitCode.TESTS_FAILED,
    pytest.ExitCode.NO_TESTS_COLLECTED,
)


def finish(session: GateSession, run: pytest.Session) -> None:
    """Turn what is missing into errors, write the reports, and set the exit status.

    Args:
        session: State of the run.
        run: Pytest's session; its exit status is never made better.
    """
    if session.config.getoption("collectonly"):
        if session.broken:
            run.exitstatus = pytest.ExitCode.USAGE_ERROR
        return
    _compare(session, run)
    complaints = [] if session.broken else [*unmet_requirements(session), *_namesakes(session)]
    session.unwritten.extend(_rewritten(session, run))
    for record in complaints:
        session.forget_uncounted(record)
        if run.exitstatus in _FINISHED:
            report = failed_report(record, _message(record))
            session.config.hook.pytest_runtest_logreport(report=report)
        else:
            session.take_record(record)
    remember(session, finished=run.exitstatus in _FINISHED)
    _tell(session)
    for target in session.settings.reports:
        _write(session, target)
    if run.exitstatus in _FINISHED and (complaints or session.unwritten):
        run.exitstatus = pytest.ExitCode.TESTS_FAILED
    if session.broken and run.exitstatus != pytest.ExitCode.INTERNAL_ERROR:
        run.exitstatus = pytest.ExitCode.USAGE_ERROR


def _compare(session: GateSession, run: pytest.Session) -> None:
    """Hold the gates against their baselines, if that was asked."""
    if session.comparing is not None and not session.broken:
        from pytest_fgmf.comparing import settle

        settle(session, run, finished=run.exitstatus in _FINISHED)


def _rewritten(session: GateSession, run: pytest.Session) -> list[str]:
    """Required gates that did not pass, though some hook made their tests pass."""
    if run.exitstatus != pytest.ExitCode.OK:
        return []
    return [
        f"required gate {record.verdict.gate} ended {record.verdict.outcome.upper()}, but its test "
        "was reported as passed: the run fails"
        for record in session.records
        if record.required and record.counts and not record.verdict.passed
    ]


def _namesakes(session: GateSession) -> list[Record]:
    """Two gates of one name cannot be told apart in a report, nor their evidence on disk."""
    places: dict[str, list[Record]] = {}
    for record in session.records:
        places.setdefault(record.verdict.gate, []).append(record)
    complaints = []
    for name, records in places.items():
        nodeids = sorted({record.nodeid for record in records})
        if len(nodeids) > 1:
            from fgmf.running import error_verdict

            reason = f"the name {name!r} is used by several gates: {', '.join(nodeids)}"
            verdict = error_verdict(name, records[0].verdict.kind, reason)
            complaints.append(
                Record(verdict=verdict, nodeid=nodeids[-1], gate_file="", required=False)
            )
    return complaints


def _message(record: Record) -> str:
    from fgmf.reporting import render_headline

    return render_headline(record.verdict)


def _write(session: GateSession, target: ReportTarget) -> None:
    from fgmf.errors import FgmfError
    from fgmf.reporting.targets import write_report

    verdicts = [record.verdict for record in session.records]
    try:
        write_report(target, verdicts, run=_facts(session), root=session.config.rootpath)
        session.written.append(target.path)
    except (OSError, FgmfError) as error:
        message = f"report NOT written: {target.path}: {type(error).__name__}: {error}"
        session.unwritten.append(message)


def _tell(session: GateSession) -> None:
    """Hand the whole report to whoever tracks gates, if there is any."""
    if not session.config.hook.pytest_fgmf_report.get_hookimpls():
        return
    from fgmf.errors import FgmfError
    from fgmf.reporting.document import report_document

    verdicts = [record.verdict for record in session.records]
    try:
        document = report_document(verdicts, run=_facts(session))
    except FgmfError as error:
        session.unwritten.append(f"report NOT handed to hooks: {error}")
        return
    session.tell("pytest_fgmf_report", {"document": document})


def _facts(session: GateSession) -> dict[str, Json]:
    """Facts about the run that are the same in every run of the same thing."""
    from fgmf.gatefile import active_profile
    from fgmf.seeding import DEFAULT_RUN_SEED

    gate_file = session.root_gates
    own_seed = DEFAULT_RUN_SEED if gate_file is None else gate_file.seed
    seed = session.settings.seed
    compared: dict[str, Json] = {"comparisons": session.comparisons} if session.comparisons else {}
    if session.history:
        compared["history"] = session.history
    return {
        **compared,
        "gate_file": None if gate_file is None else session.shown(gate_file.path),
        "gate_file_digest": None if gate_file is None else gate_file.digest,
        "profile": active_profile(session.settings.profile),
        "left_out": [] if gate_file is None else list(gate_file.left_out),
        "seed": own_seed if seed is None else seed,
    }
