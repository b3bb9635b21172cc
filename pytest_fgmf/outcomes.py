"""From a verdict to what pytest reports, and across process borders.

record_verdict      the item remembers it; JUnit properties
raise_unless_passed FAIL, INCONCLUSIVE, ERROR each raise their own exception
shape_report        attaches the records; words instead of tracebacks; ERROR becomes E
records_of          reads them from a report, in the process that reports
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_fgmf.naming import node_id

if TYPE_CHECKING:
    from fgmf.verdict import Verdict

_ATTRIBUTE: Final = "fgmf_records"
_PENDING: Final = pytest.StashKey[list[str]]()
_GATED: Final = pytest.StashKey[bool]()


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
    item.stash.setdefault(_PENDING, []).append(json.dumps(entry))
    item.stash[_GATED] = True


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
    """Give a gated item's report its records, words and outcome; leave others alone."""
    if not item.stash.get(_GATED, False):
        return
    pending = item.stash.get(_PENDING, [])
    if pending:
        setattr(report, _ATTRIBUTE, list(pending))
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
    for text in getattr(report, _ATTRIBUTE, ()):
        entry: dict[str, Any] = json.loads(text)
        verdict = Verdict.from_document(entry.pop("verdict"))
        records.append(Record(verdict=verdict, counts=not report.skipped, **entry))
    return records


def has_records(report: pytest.TestReport) -> bool:
    """Say whether a report carries verdicts, without importing what reads them."""
    return hasattr(report, _ATTRIBUTE)


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
        longrepr=message,
        when="setup",
    )
    setattr(report, _ATTRIBUTE, [json.dumps(entry)])
    return report


def _in_words(item: pytest.Item, excinfo: pytest.ExceptionInfo[BaseException]) -> Any:  # noqa: ANN401
    """Show the message instead of a traceback; summaries show its first line."""
    shown: Any = excinfo.getrepr(style="value")
    crash = shown.reprcrash
    if crash is None:
        return shown
    crash.message = str(excinfo.value).partition("\n")[0]
    if isinstance(item, pytest.Function):
        shown.reprtraceback.reprentries[-1].lines.append(f"at {crash.path}:{crash.lineno}")
    else:
        path, line, _ = item.reportinfo()
        crash.path, crash.lineno = str(path), (line or 0) + 1
    return shown
