"""Is there any sign of a gate? Asked in every pytest run, so it costs next to nothing to ask."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pytest_fgmf.options import any_given

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

OWN_FILE = "fgmf.toml"
SHARED_FILE = "pyproject.toml"


def any_sign(config: pytest.Config) -> bool:
    """Say whether a session that starts may have to do with gates.

    What is no sign here can still come up later: a gate file in some folder, a test that uses
    the fixture. Only xdist's controller must be ready from the start, since all that it learns
    of its workers' gates are their reports.
    """
    return (
        any_given(config)
        or any(argument.partition("::")[0].endswith(".toml") for argument in config.args)
        or any(may_hold_gates(directory) for directory in root_directories(config))
        or config.pluginmanager.has_plugin("dsession")
    )


def root_directories(config: pytest.Config) -> list[Path]:
    """Directories whose gate file is that of the run, the nearest first."""
    directories = [config.rootpath]
    if config.inipath is None:
        above = []
        for directory in (config.rootpath, *config.rootpath.parents):
            above.append(directory)
            if (directory / ".git").exists():
                directories += above[1:]
                break
    return directories


def may_hold_gates(directory: Path) -> bool:
    """Say whether a directory has a file that could be a gate file."""
    own = os.path.lexists(directory / OWN_FILE)
    return own or mentions_gates(directory / SHARED_FILE)


def may_be_gate_file(path: Path) -> bool:
    """Say whether a file could be a gate file, by its name and a glance."""
    return path.name == OWN_FILE or (path.name == SHARED_FILE and mentions_gates(path))


def mentions_gates(path: Path) -> bool:
    """Say whether our name stands anywhere in a file; parsing it would be dear."""
    try:
        return b"fgmf" in path.read_bytes()
    except OSError:
        return False
