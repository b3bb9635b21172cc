"""Hooks of the plugin. Loading it imports pytest and the standard library, nothing else.

sessionstart     settings; the root's gate file is found and checked (usage error: exit 4)
collect_file     a gate file: one item per gate
makereport       verdicts travel as an attribute of the report, also under xdist
logreport        (`session.ReportGatherer`) verdicts are gathered where reports are: in the
                 one process, or in the controller
sessionfinish    what was required and did not run becomes an error; reports are written
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_fgmf.fixtures import fgmf, fgmf_data, fgmf_model
from pytest_fgmf.keys import GATED
from pytest_fgmf.markers import ANY_GATE, register_markers
from pytest_fgmf.options import add_options, baselines_asked, read_settings
from pytest_fgmf.session import GateSession, install, state_of

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["fgmf", "fgmf_data", "fgmf_model"]

_HANDOVER = "fgmf"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare options and ini values."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    register_markers(config)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Find the gates, and refuse a broken gate file before anything runs."""
    from pytest_fgmf.finding import prepare

    state = GateSession(session.config, read_settings(session.config))
    install(session.config, state)
    if baselines_asked(session.config):
        from pytest_fgmf.comparing import read_wishes

        state.comparing = read_wishes(session.config)
    prepare(state)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say which gates were found."""
    state = state_of(config)
    if state is None or not state.has_gates:
        return []
    from pytest_fgmf.terminal import header_lines

    return header_lines(state)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect gate files, and the evidence that is to be replayed."""
    state = state_of(parent.config)
    if state is None or file_path.suffix not in {".toml", ".json"}:
        return None
    from pytest_fgmf.finding import EVIDENCE_FILE, is_gate_file

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


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark tests that use the fixture."""
    if "fgmf" in getattr(item, "fixturenames", ()):
        item.add_marker(ANY_GATE)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Add the root's gates where the arguments did not reach them, before any is deselected."""
    state = state_of(session.config)
    if state is not None and state.root_file is not None:
        from pytest_fgmf.gatefile import complete

        complete(state, session, items)


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Remember deselected gates, to say so."""
    state = state_of(items[0].config) if items else None
    if state is not None:
        state.take_deselected(items)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a gated item's report say what the verdict says."""
    report = yield
    if item.stash.get(GATED, False):
        from pytest_fgmf.outcomes import shape_report

        shape_report(item, call, report)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Close the books, or hand them to the controller."""
    state = state_of(session.config)
    if state is None:
        return
    if state.is_worker:
        session.config.workeroutput[_HANDOVER] = state.handover()  # type: ignore[attr-defined]
        return
    if state.has_gates:
        from pytest_fgmf.finishing import finish

        finish(state, session)


def pytest_terminal_summary(terminalreporter: Any) -> None:  # noqa: ANN401 - not public in pytest
    """Show all gates."""
    state = state_of(terminalreporter.config)
    if state is None or not state.has_gates:
        return
    from pytest_fgmf.terminal import summary_lines

    lines = summary_lines(state)
    if lines:
        terminalreporter.section("gates")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:  # noqa: ANN401, ARG001 - xdist's own
    """Take what an xdist worker knows; a crashed worker left nothing."""
    state = state_of(node.config)
    text = getattr(node, "workeroutput", {}).get(_HANDOVER)
    if state is not None and text is not None:
        state.take_handover(text)
