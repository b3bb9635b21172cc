"""Find the gate file of a run, and decide what the run is about."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from pytest_fgmf.plugin import (
    OWN_FILE,
    SHARED_FILE,
    may_hold_gates,
    mentions_gates,
    root_directories,
)

if TYPE_CHECKING:
    from pytest_fgmf.session import GateSession, Selection

EVIDENCE_FILE: Final = "repro.json"


def prepare(session: GateSession) -> None:
    """Find the gates of a run and check their files before anything runs.

    Raises:
        pytest.UsageError: A gate file is broken, or an option names one that is not there.
    """
    try:
        session.root_file = find_root_file(session)
        session.selection = select(session)
        for path in named_gate_files(session):
            session.gate_file(path)
    except Exception as error:
        from fgmf.errors import InvalidGateFile

        if isinstance(error, InvalidGateFile):
            raise pytest.UsageError(str(error)) from None
        raise


def find_root_file(session: GateSession) -> Path | None:
    """Find the gate file that belongs to the run, wherever its tests lie.

    Returns:
        The one that an option names; else that of the root directory; else that of a directory
        above it, or above an argument, inside the same repository (`root_directories`).

    Raises:
        pytest.UsageError: The named file does not exist.
        InvalidGateFile: A directory has two.
    """
    named = session.settings.gatefile
    if named is not None:
        if not named.is_file():
            message = f"--fgmf-gatefile (fgmf_gatefile): expected a gate file, got {named}"
            raise pytest.UsageError(f"{message}, which does not exist")
        return Path(os.path.normpath(named))
    for directory in root_directories(session.config):
        if may_hold_gates(directory):
            from fgmf.gatefile import find_gate_file

            found = find_gate_file(directory)
            if found is not None:
                return found
    return None


def is_gate_file(session: GateSession, path: Path) -> bool:
    """Say whether a file that pytest came by is a gate file."""
    if session.root_file is not None and session.settings.gatefile is not None:
        return path == session.root_file
    if path.name == OWN_FILE:
        return True
    if path.name != SHARED_FILE or not mentions_gates(path):
        return False
    from fgmf.gatefile import holds_gates

    return holds_gates(path)


def select(session: GateSession) -> Selection:
    """Decide what the run is about; a replay is about its evidence and nothing else."""
    config = session.config
    if session.settings.replay is not None:
        evidence = session.settings.replay / EVIDENCE_FILE
        if not evidence.is_file():
            message = f"--fgmf-replay: expected saved evidence, got {evidence.parent} without "
            raise pytest.UsageError(f"{message}{EVIDENCE_FILE}")
        config.args[:] = [str(evidence)]
        return "replay"
    if all("::" in argument for argument in config.args):
        return "node ids"
    if config.getoption("pyargs") and not all(_exists(config, arg) for arg in config.args):
        return "packages"
    return "all"


def named_gate_files(session: GateSession) -> list[Path]:
    """Gate files that must be sound before anything runs: the root's and those asked for."""
    found = []
    if session.root_file is not None and session.selection == "all":
        found.append(session.root_file)
    for argument in session.config.args:
        path = _absolute(session.config, argument)
        if path.is_file() and path not in found and is_gate_file(session, path):
            found.append(path)
    return found


def _absolute(config: pytest.Config, argument: str) -> Path:
    place = argument.partition("::")[0]
    return Path(os.path.normpath(config.invocation_params.dir / place))


def _exists(config: pytest.Config, argument: str) -> bool:
    return _absolute(config, argument).exists()
