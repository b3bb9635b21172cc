"""Hooks of a run that has gates, registered at the first sign of one (`plugin`).

begin            settings; the root's gate file is found and checked (usage error: exit 4)
collect_file     a gate file: one item per gate
makereport       verdicts travel as an attribute of the report, also under xdist
logreport        verdicts are gathered where reports are: in the one process, or in the controller
sessionfinish    what was required and did not run becomes an error; reports are written
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_fgmf.comparing import wishes_of
from pytest_fgmf.finding import EVIDENCE_FILE, is_gate_file, prepare
from pytest_fgmf.keys import GATED
from pytest_fgmf.session import GateSession, keep, state_of
from pytest_fgmf.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_HANDOVER: Final = "fgmf"
_NAME: Final = "fgmf-gates"


def begin(config: pytest.Config) -> GateSession:
    """Return the state of a run; at the first call make it, and find the gates.

    Raises:
        pytest.UsageError: A gate file is broken, or an option is not what it should be.
    """
    known = state_of(config)
    if known is not None:
        return known
    state = GateSession(config, read_settings(config))
    state.comparing = wishes_of(config)
    keep(config, state)
    config.pluginmanager.register(GateHooks(state), _NAME)
    if not state.is_worker:
        config.pluginmanager.register(ReportGatherer(state), "fgmf-reports")
    prepare(state)
    return state


def collect_file(
    state: GateSession, file_path: Path, parent: pytest.Collector
) -> pytest.Collector | None:
    """Collect a gate file, or the evidence that is to be replayed."""
    if state.selection == "replay":
        if not parent.session.isinitpath(file_path) or file_path.name != EVIDENCE_FILE:
            return None
        from pytest_fgmf.gatefile import EvidenceCollector

        return EvidenceCollector.from_parent(parent, path=file_path)
    if is_gate_file(state, file_path):
        from pytest_fgmf.gatefile import GateFileCollector

        # by itself pytest names a file outside the root directory "."
        return GateFileCollector.from_parent(parent, path=file_path, nodeid=state.shown(file_path))
    return None


class GateHooks:
    """What pytest calls in every process of a run that has gates."""

    def __init__(self, state: GateSession) -> None:
        """Take the state of the run."""
        self._state = state

    def pytest_report_header(self) -> list[str]:
        """Say which gates were found."""
        if not self._state.has_gates:
            return []
        from pytest_fgmf.terminal import header_lines

        return header_lines(self._state)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(
        self, session: pytest.Session, items: list[pytest.Item]
    ) -> None:
        """Add the root's gates where the arguments did not reach them, before any is deselected."""
        if self._state.root_file is not None:
            from pytest_fgmf.gatefile import complete

            complete(self._state, session, items)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Keep nothing but gates where only they are to be listed."""
        if self._state.listing:
            session.items[:] = [item for item in session.items if "fgmf" in item.keywords]
            self._state.listed = {item.nodeid for item in session.items}

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Remember deselected gates, to say so."""
        self._state.take_deselected(items)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Let a gated item's report say what the verdict says."""
        report = yield
        if item.stash.get(GATED, False):
            from pytest_fgmf.outcomes import shape_report

            shape_report(item, call, report)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Close the books, or hand them to the controller."""
        state = self._state
        if state.is_worker:
            session.config.workeroutput[_HANDOVER] = state.handover()  # type: ignore[attr-defined]
            return
        if state.has_gates:
            from pytest_fgmf.finishing import finish

            finish(state, session)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:  # noqa: ANN401 - not public in pytest
        """Show all gates."""
        if not self._state.has_gates:
            return
        from pytest_fgmf.terminal import summary_lines

        lines = summary_lines(self._state)
        if lines:
            terminalreporter.section("gates")
            for line in lines:
                terminalreporter.write_line(line)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:  # noqa: ANN401, ARG002 - xdist's own
        """Take what an xdist worker knows; a worker that crashed or saw no gate left nothing."""
        text = getattr(node, "workeroutput", {}).get(_HANDOVER)
        if text is not None:
            self._state.take_handover(text)


class ReportGatherer:
    """What pytest calls where reports are gathered: in the one process, or in the controller."""

    def __init__(self, state: GateSession) -> None:
        """Take the state of the run."""
        self._state = state

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Gather a report."""
        self._state.take_report(report)
