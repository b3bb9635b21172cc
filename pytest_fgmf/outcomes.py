"""From a verdict to what pytest reports, and across process borders.

record_verdict      the item remembers it; JUnit properties
raise_unless_passed FAIL, INCONCLUSIVE, ERROR each raise their own exception
shape_report        attaches the records; words instead of tracebacks; ERROR becomes E
records_of          reads them from a report, in the process that reports
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from pytest_fgmf.keys import GATED, PENDING_RECORDS, RECORDS_ATTRIBUTE
from pytest_fgmf.naming import node_id

if TYPE_CHECKING:
    from fgmf.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class Record:
    """A verdict and where it came from.

    Attributes:
        verdict: The verdict.
        nodeid: The item that measured it.
        gate_file: The gate file's path in node ids; empty for a gate written in a test.
        required: The run fails unless this gate counts.
        counts: False if the item was skipped or expected to fail.
    """

    verdict: Verdict
    nodeid: str
    gate_file: str
    required: bool
    counts: bool = True


def record_verdict(
    item: pytest.Item, verdict: Verdict, *, required: bool, gate_file: str = ""
) -> None:
    """Remember a verdict for the reports of an item.

    Args:
        item: The item that is running.
        verdict: What it measured.
        required: Whether the gate must count.
        gate_file: Path of its gate file as in node ids.
    """
    from fgmf.reporting import junit_properties

    item.user_properties.extend(junit_properties(verdict))
    entry = {
        "verdict": verdict.as_document(),
        "nodeid": node_id(item),
        "gate_file": gate_file,
        "required": required,
    }
    item.stash.setdefault(PENDING_RECORDS, []).append(json.dumps(entry))
    item.stash[GATED] = True


def raise_unless_passed(verdict: Verdict) -> None:
    """Raise what the outcome of a verdict calls for; the first line stands alone.

    Raises:
        GateFailure: Outcome FAIL.
        GateInconclusive: Outcome INCONCLUSIVE that the gate does not let through.
        GateError: Outcome ERROR.
    """
    __tracebackhide__ = True
    from fgmf.errors import GateError, GateFailure, GateInconclusive
    from fgmf.reporting import render_details, render_headline
    from fgmf.verdict import Outcome

    if verdict.passed:
        return
    message = f"{render_headline(verdict)}\n{render_details(verdict)}".rstrip()
    if verdict.outcome is Outcome.FAIL:
        raise GateFailure(message)
    if verdict.outcome is Outcome.INCONCLUSIVE:
        raise GateInconclusive(message)
    raise GateError(message)


def shape_report(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Give a gated item's report its records, words and outcome."""
    pending = item.stash.get(PENDING_RECORDS, [])
    if pending:
        setattr(report, RECORDS_ATTRIBUTE, list(pending))
        pending.clear()
    if call.excinfo is None or not report.failed:
        return
    from fgmf.errors import GateError, GateFailure, GateInconclusive

    error = call.excinfo.value
    if not isinstance(error, GateError | GateFailure | GateInconclusive):
        return
    if not item.config.getoption("fulltrace", default=False):
        report.longrepr = _in_words(item, call.excinfo)
    if isinstance(error, GateError) and report.when == "call":
        # Pytest has no other way to say "could not be measured" in terminal, JUnit and xdist.
        report.when = "setup"


def records_of(report: pytest.TestReport) -> list[Record]:
    """Return the records that a report carries, in whichever process it was made."""
    from fgmf.verdict import Verdict

    records = []
    for text in getattr(report, RECORDS_ATTRIBUTE, ()):
        entry: dict[str, Any] = json.loads(text)
        verdict = Verdict.from_document(entry.pop("verdict"))
        records.append(Record(verdict=verdict, counts=not report.skipped, **entry))
    return records


def failed_report(record: Record, message: str) -> pytest.TestReport:
    """Make the report of an item that should have run and did not.

    Args:
        record: With an ERROR verdict.
        message: What to say.

    Returns:
        A report that every reporter shows as an error of that node id.
    """
    entry = {
        "verdict": record.verdict.as_document(),
        "nodeid": record.nodeid,
        "gate_file": record.gate_file,
        "required": record.required,
    }
    path, _, name = record.nodeid.partition("::")
    report = pytest.TestReport(
        nodeid=record.nodeid,
        location=(path, None, name or path),
        keywords={},
        outcome="failed",
        longrepr=_only_words(message, path),
        when="setup",
    )
    setattr(report, RECORDS_ATTRIBUTE, [json.dumps(entry)])
    return report


def _only_words(message: str, path: str) -> Any:  # noqa: ANN401 - not public in pytest
    """Like the report of an exception: pytest 8 shows no message of a plain text in its summary."""
    from fgmf.errors import GateError

    try:
        raise GateError(message)
    except GateError:
        shown: Any = pytest.ExceptionInfo.from_current().getrepr(style="value")
    shown.reprcrash.message = message.partition("\n")[0]
    shown.reprcrash.path, shown.reprcrash.lineno = path, 1
    return shown


def _in_words(item: pytest.Item, excinfo: pytest.ExceptionInfo[BaseException]) -> Any:  # noqa: ANN401 - not public
    """Show the message instead of a traceback; summaries show its first line."""
    shown: Any = excinfo.getrepr(style="value")
    crash = shown.reprcrash
    if crash is None:
        return shown
    crash.message = str(excinfo.value).partition("\n")[0]
    if item.getparent(pytest.Module) is not None:
        shown.reprtraceback.reprentries[-1].lines.append(f"at {crash.path}:{crash.lineno}")
    else:
        path, line, _ = item.reportinfo()
        crash.path, crash.lineno = str(path), (line or 0) + 1
    return shown
