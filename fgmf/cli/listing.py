"""`fgmf list`: the gates of a gate file and what they ask; nothing is loaded or measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.cli.exits import ExitCode, WrongUse, say
from fgmf.cli.opening import open_gate_file
from fgmf.reporting.gate_list import render_gate_list

if TYPE_CHECKING:
    from pathlib import Path


def run_list(path: Path | None, *, profile: str | None) -> ExitCode:
    """Print the gates of a gate file.

    Args:
        path: Gate file, a directory with one, or None for the working directory.
        profile: Which gates; by default as in a run.

    Returns:
        PASSED: the file is sound.

    Raises:
        WrongUse: The profile leaves no gate.
        InvalidGateFile: The file is missing or broken, with every problem.
    """
    gate_file = open_gate_file(path, profile=profile)
    if not gate_file.gates:
        raise WrongUse(f"expected gates in profile {gate_file.profile}, got none")
    say(f"{gate_file.path.name}, profile {gate_file.profile}:")
    say(render_gate_list(gate_file.gates))
    if gate_file.left_out:
        say(f"left out by profile {gate_file.profile}: {', '.join(gate_file.left_out)}")
    return ExitCode.PASSED
