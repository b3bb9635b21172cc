"""Which gate file evidence comes from, so that a replay finds the model that was measured.

Evidence lies in ``HOME/.fgmf/failures/GATE``; it names its gate file from HOME. Evidence is not
trusted, and a gate file runs code: only a gate file inside the directory that the caller works in
is ever taken.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from fgmf.errors import FgmfError

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEPTH = 2
"""``.fgmf/failures`` below HOME."""


def named_from_evidence(gate_file: Path, failures_directory: Path | None) -> str:
    """Return how evidence names its gate file; empty where it could not be found again.

    Args:
        gate_file: Its path.
        failures_directory: Of all gates, ``HOME/.fgmf/failures``; None where nothing is saved.
    """
    if failures_directory is None:
        return ""
    home, file = failures_directory.absolute().parents[_DEPTH - 1], gate_file.absolute()
    return file.relative_to(home).as_posix() if file.is_relative_to(home) else ""


def recorded_gate_file(directory: Path, *, root: Path) -> Path | None:
    """Find the gate file that evidence comes from.

    Args:
        directory: A gate's evidence.
        root: Directory that the caller works in.

    Returns:
        The gate file, inside `root`: seen from where the evidence lies, else from `root`. None
        where the evidence names none (its gate was in a test), cannot be read, or the named
        file is not there.
    """
    from fgmf.failures import load_failures
    from fgmf.failures.layout import GATE_FILE

    try:
        named = load_failures(directory).recipe.get(GATE_FILE)
    except (FgmfError, OSError):
        return None  # the replay says what is wrong with it
    if not isinstance(named, str) or not named or ".." in PurePosixPath(named).parts:
        return None
    inside = root.resolve()
    candidates = (home / named for home in _homes(directory, root))
    return next(
        (file for file in candidates if file.is_file() and file.resolve().is_relative_to(inside)),
        None,
    )


def _homes(directory: Path, root: Path) -> Iterator[Path]:
    place = directory.absolute()
    if place.parents[_DEPTH - 1].name == ".fgmf":
        yield place.parents[_DEPTH]
    yield root
