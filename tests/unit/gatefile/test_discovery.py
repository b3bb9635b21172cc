from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fgmf.errors import InvalidGateFile
from fgmf.gatefile import find_gate_file, holds_gates

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_nothing_is_found_in_an_empty_directory(tmp_path: Path) -> None:
    assert find_gate_file(tmp_path) is None
    assert find_gate_file(tmp_path / "gone") is None


def test_the_own_file_is_found_even_where_it_cannot_be_read(tmp_path: Path) -> None:
    own = write(tmp_path / "fgmf.toml", "not toml at all [")
    assert find_gate_file(tmp_path) == own
    own.unlink()
    own.symlink_to("elsewhere")
    assert find_gate_file(tmp_path) == own


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("[tool.fgmf]\nschema = 1", True),
        ("[[tool.fgmf.gate]]\nkind = 'robustness'", True),
        ("[tool]\nfgmf = { schema = 1 }", True),
        ("tool.fgmf.schema = 1", True),
        ("\ufeff[tool.fgmf]\nschema = 1", True),
        ("[project]\ndependencies = ['pytest-fgmf']", False),
        ("[tool.other]\nfgmf = 1", False),
        ("# [tool.fgmf]", False),
        ("tool = 'fgmf'", False),
        ("", False),
    ],
)
def test_the_table_of_a_project_file(tmp_path: Path, text: str, holds: bool) -> None:
    path = write(tmp_path / "pyproject.toml", text)
    assert holds_gates(path) is holds
    assert find_gate_file(tmp_path) == (path if holds else None)


@pytest.mark.parametrize("text", ["[tool.fgmf]\nschema = ", "x = \n[[tool . fgmf.gate]]\n"])
def test_a_broken_project_file_does_not_lose_its_gates(tmp_path: Path, text: str) -> None:
    assert holds_gates(write(tmp_path / "pyproject.toml", text))


def test_a_broken_project_file_without_the_header_is_not_ours(tmp_path: Path) -> None:
    assert not holds_gates(write(tmp_path / "pyproject.toml", "fgmf = \n[tool.x]"))


def test_gates_in_both_files_are_an_error_that_names_both(tmp_path: Path) -> None:
    own = write(tmp_path / "fgmf.toml", "")
    write(tmp_path / "pyproject.toml", "[tool.fgmf]\n")
    with pytest.raises(InvalidGateFile, match=r"\[tool\.fgmf\]: expected no such table") as caught:
        find_gate_file(tmp_path)
    assert str(own) in str(caught.value)
    assert "pyproject.toml" in str(caught.value)


def test_finding_a_gate_file_imports_no_pydantic() -> None:
    code = "import fgmf.gatefile, sys; print({'pydantic', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"
