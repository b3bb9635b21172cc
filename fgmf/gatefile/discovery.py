"""Find the gate file of a directory, cheaply: most directories have none."""

from __future__ import annotations

import os
import re
import tomllib
from typing import TYPE_CHECKING, Final

from fgmf.errors import InvalidGateFile, Problem

if TYPE_CHECKING:
    from pathlib import Path

GATE_FILE_NAME: Final = "fgmf.toml"
PROJECT_FILE_NAME: Final = "pyproject.toml"
_HEADER = re.compile(rb"^\s*\[+\s*tool\s*\.\s*[\"']?fgmf\b", re.MULTILINE)


def find_gate_file(directory: Path) -> Path | None:
    """Return the gate file of a directory.

    Args:
        directory: Where to look; directories above and below are not searched.

    Returns:
        `fgmf.toml`; else `pyproject.toml` if it has a table `[tool.fgmf]`; else None.

    Raises:
        InvalidGateFile: Both have gates, so that it is not clear which ones count.

    Cost: two look-ups in the file system; `pyproject.toml` is parsed only if it says "fgmf".
    """
    own, shared = directory / GATE_FILE_NAME, directory / PROJECT_FILE_NAME
    has_own, has_shared = os.path.lexists(own), holds_gates(shared)
    if has_own and has_shared:
        problem = Problem(
            location="[tool.fgmf]",
            expected=f"no such table beside {own}",
            got=f"gates in both files; keep them in {GATE_FILE_NAME} only",
        )
        raise InvalidGateFile(str(shared), [problem])
    if has_own:
        return own
    return shared if has_shared else None


def holds_gates(project_file: Path) -> bool:
    """Say whether a `pyproject.toml` has a table `[tool.fgmf]`.

    A file that is broken TOML counts if the header stands in it, so that its gates are not
    lost without a word.
    """
    try:
        contents = project_file.read_bytes()
    except OSError:
        return False
    if b"fgmf" not in contents:
        return False
    try:
        tool = tomllib.loads(contents.decode("utf-8-sig")).get("tool")
    except (ValueError, RecursionError):
        return _HEADER.search(contents) is not None
    return isinstance(tool, dict) and "fgmf" in tool
