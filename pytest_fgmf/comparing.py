"""Gates against their baselines: what was asked, and the books at the end of a run.

Comparing happens where verdicts are gathered: in the one process, or in xdist's controller.
What breaks a limit is reported as a failed test of that gate, what could not be compared as an
error; baselines are written last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from fgmf.baselines import Comparison, Limit, Update
    from pytest_fgmf.session import GateSession

UPDATE: Final = "update"
FORCE: Final = "force"


class Wishes(NamedTuple):
    """What the user asked about baselines.

    Attributes:
        directory: Of the baselines; None is the default one, beside the gate file.
        limits: The most that a gate may lose; none means that nothing fails.
        update: Whether baselines are written after the run.
    """

    directory: Path | None
    limits: tuple[Limit, ...]
    update: bool


_OPTIONS: Final = ("fgmf_compare", "fgmf_compare_fail", "fgmf_update_baseline")


def wishes_of(config: pytest.Config) -> Wishes | None:
    """Read what the user asked; None where nothing was said about baselines.

    Raises:
        pytest.UsageError: A limit is none, the directory holds something else, or baselines
            would be written in CI.
    """
    if all(config.getoption(name) is None and not config.getini(name) for name in _OPTIONS):
        return None
    from fgmf.baselines import parse_limit
    from fgmf.errors import InvalidInput

    try:
        limits = tuple(dict.fromkeys(map(parse_limit, _limit_texts(config))))
    except InvalidInput as error:
        message = f"--fgmf-compare-fail (fgmf_compare_fail): {error}"
        raise pytest.UsageError(message) from None
    update = _update(config)
    return Wishes(directory=_directory(config, update=update), limits=limits, update=update)


def settle(session: GateSession, run: pytest.Session, *, finished: bool) -> None:
    """Compare, report what must fail, and write baselines.

    Args:
        session: State of the run; gets the lines to show and the facts for reports.
        run: Pytest's session; its exit status is never made better.
        finished: False if the run was interrupted; then nothing is written.
    """
    from fgmf.baselines import (
        ExpectedGates,
        compare_with_baselines,
        git_warning,
        settled,
        update_baselines,
    )
    from fgmf.reporting.comparison import comparison_document, render_comparisons, render_updates

    wishes = session.comparing
    if wishes is None or session.selection == "replay":
        return
    directory = wishes.directory or default_directory(session)
    verdicts = [record.verdict for record in session.records if record.counts]
    left_out = {name for gate_file in session.files.values() for name in gate_file.left_out}
    expected = ExpectedGates(left_out=left_out, partial=session.selection != "all")
    comparisons = compare_with_baselines(
        verdicts, directory, limits=wishes.limits, expected=expected
    )
    updates: list[Update] = []
    if wishes.update and finished:
        updates = update_baselines(verdicts, comparisons, directory)
        comparisons = settled(comparisons, updates)
    elif wishes.update:
        session.unwritten.append("baselines NOT written: the run did not finish")
    session.comparisons = [comparison_document(comparison) for comparison in comparisons]
    session.compared += render_comparisons(comparisons).splitlines()
    session.compared += render_updates(updates).splitlines()
    session.compared += git_warning(updates).splitlines()
    if wishes.limits and not comparisons and session.selection == "all":
        session.unwritten.append("nothing compared: the run had no gate, and there is no baseline")
    failing = [c for c in comparisons if c.outcome is not None and c.outcome != "pass"]
    if finished:
        for comparison in failing:
            report = _report(session, comparison, directory)
            session.config.hook.pytest_runtest_logreport(report=report)
        if failing or any(update.owed for update in updates):
            run.exitstatus = pytest.ExitCode.TESTS_FAILED


def default_directory(session: GateSession) -> Path:
    """Return where baselines lie: beside the gate file, or in the root directory."""
    from fgmf.baselines import BASELINES_DIRECTORY

    root = session.root_file
    return (session.config.rootpath if root is None else root.parent) / BASELINES_DIRECTORY


def _limit_texts(config: pytest.Config) -> list[str]:
    return list(config.getoption("fgmf_compare_fail") or config.getini("fgmf_compare_fail"))


def _update(config: pytest.Config) -> bool:
    given = config.getoption("fgmf_update_baseline")
    value = (config.getini("fgmf_update_baseline") or "") if given is None else given
    flag = "--fgmf-update-baseline"
    if value not in {"", UPDATE, FORCE}:
        message = f"{flag} (fgmf_update_baseline): expected nothing or {FORCE}, got {value!r}"
        raise pytest.UsageError(f"{message}; give paths before this option")
    if value == UPDATE:
        from fgmf.gatefile import in_ci

        if in_ci():
            message = f"{flag}: expected a run by hand, got one with the variable CI set"
            raise pytest.UsageError(f"{message}; {flag}={FORCE} writes baselines all the same")
    return bool(value)


def _directory(config: pytest.Config, *, update: bool) -> Path | None:
    given = config.getoption("fgmf_compare")
    value = (config.getini("fgmf_compare") or "") if given is None else given
    if not value:
        return None
    ini = config.rootpath if config.inipath is None else config.inipath.parent
    directory: Path = (ini if given is None else config.invocation_params.dir) / value
    entries = list(directory.iterdir()) if directory.is_dir() else []
    foreign = bool(entries) and not any(entry.suffix in {".json", ".jsonl"} for entry in entries)
    if foreign or (not directory.is_dir() and (directory.exists() or not update)):
        flag = "--fgmf-compare"
        message = f"{flag} (fgmf_compare): expected a directory of baselines, got {value!r}"
        raise pytest.UsageError(f"{message}; where paths follow, write {flag}=DIR")
    return directory


def _report(session: GateSession, comparison: Comparison, directory: Path) -> pytest.TestReport:
    """Make the report of a comparison that does not pass, under its gate's node id."""
    from fgmf.baselines import baseline_path
    from fgmf.errors import GateError, GateInconclusive, GateRegression
    from fgmf.reporting.comparison import describe_comparison

    gate = comparison.gate
    nodeids = [r.nodeid for r in session.records if r.counts and r.verdict.gate == gate]
    nodeid = nodeids[0] if nodeids else f"{session.shown(baseline_path(directory, gate))}::{gate}"
    kinds: dict[str, type[Exception]] = {"fail": GateRegression, "inconclusive": GateInconclusive}
    kind = kinds.get(str(comparison.outcome), GateError)
    lines = [describe_comparison(comparison), *comparison.remarks]
    path, _, name = nodeid.partition("::")
    return pytest.TestReport(
        nodeid=nodeid,
        location=(path, None, name or path),
        keywords={},
        outcome="failed",
        longrepr=_words(kind("\n".join(lines)), path),
        when="setup" if kind is GateError else "call",
    )


def _words(error: Exception, path: str) -> Any:  # noqa: ANN401 - not public in pytest
    """Like the report of an exception, with the message in place of a traceback."""
    try:
        raise error
    except type(error):
        shown: Any = pytest.ExceptionInfo.from_current().getrepr(style="value")
    shown.reprcrash.message = str(error).partition("\n")[0]
    shown.reprcrash.path, shown.reprcrash.lineno = path, 1
    return shown
