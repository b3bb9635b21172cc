"""Gate files: `fgmf.toml`, or the table `[tool.fgmf]` of a `pyproject.toml`.

`discovery` finds them, `reading` parses TOML, `tables` holds what is not a gate, `expansion`
turns lists of norms and budgets into gates, `loading` puts it together, `editor` writes the
JSON Schema. Importing this package costs nothing: pydantic is imported when a file is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fgmf.gatefile.contents import DataEntry, GateFile, ModelEntry
from fgmf.gatefile.discovery import GATE_FILE_NAME, find_gate_file, holds_gates
from fgmf.gatefile.profiles import KNOWN_PROFILES, active_profile, in_ci

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "GATE_FILE_NAME",
    "KNOWN_PROFILES",
    "DataEntry",
    "GateFile",
    "ModelEntry",
    "active_profile",
    "find_gate_file",
    "holds_gates",
    "in_ci",
    "json_schema",
    "load_gate_file",
]


def load_gate_file(path: Path, *, profile: str | None = None) -> GateFile:
    """Read a gate file and check all of it.

    Args:
        path: A gate file, or a `pyproject.toml` with a table `[tool.fgmf]`.
        profile: Name of the profile; None takes `ci` where the environment variable CI is set,
            else `default`.

    Returns:
        The models, the data and the gates of the profile.

    Raises:
        InvalidGateFile: With every problem of the file.
    """
    from fgmf.gatefile.loading import load

    return load(path, profile=active_profile(profile))


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a gate file, for editors."""
    from fgmf.gatefile.editor import gate_file_schema

    return gate_file_schema()
