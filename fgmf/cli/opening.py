"""Find and read the gate file that a command is about."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fgmf.cli.exits import WrongUse
from fgmf.errors import InvalidGateFile, Problem
from fgmf.gatefile import find_gate_file, load_gate_file

if TYPE_CHECKING:
    from fgmf.gatefile import GateFile

_PROFILE = "(the active profile)"


def open_gate_file(path: Path | None, *, profile: str | None = None) -> GateFile:
    """Read a gate file.

    Args:
        path: The file, or a directory that has one; None is the working directory.
        profile: Name of the profile; None chooses it by the environment.

    Returns:
        The gate file; its path is absolute.

    Raises:
        InvalidGateFile: There is none, or it is broken.
        WrongUse: The file is sound, but has no such profile, or the profile runs no gate.
    """
    given = Path.cwd() if path is None else path.absolute()
    found = find_gate_file(given) if given.is_dir() else given
    if found is None:
        expected = "fgmf.toml, or a pyproject.toml with [tool.fgmf]; `fgmf init` writes one"
        problem = Problem(location="(the directory)", expected=expected, got="neither")
        raise InvalidGateFile(str(given), [problem])
    try:
        return load_gate_file(found, profile=profile)
    except InvalidGateFile as error:
        if all(problem.location == _PROFILE for problem in error.problems):
            raise WrongUse(str(error)) from None
        raise
