from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from fgmf.errors import InvalidGateFile, Problem
from fgmf.gatefile.reading import read_document

if TYPE_CHECKING:
    from pathlib import Path


def problem_in(path: Path) -> Problem:
    with pytest.raises(InvalidGateFile) as caught:
        read_document(path)
    (problem,) = caught.value.problems
    assert caught.value.source == str(path)
    return problem


def test_tables_digest_and_lines(tmp_path: Path) -> None:
    path = tmp_path / "fgmf.toml"
    contents = b"schema = 1\n\n[[gate]]\nx = 1\n [[ gate ]] # two\nx = 2\n[[gated]]\n"
    path.write_bytes(contents)
    document = read_document(path)
    assert document.tables["gate"] == [{"x": 1}, {"x": 2}]
    assert document.digest == "sha256:" + hashlib.sha256(contents).hexdigest()
    assert document.gate_lines == (3, 5)
    assert document.prefix == ()


def test_the_table_of_a_project_file(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text("[project]\n[tool.fgmf]\nschema = 1\n[[tool.fgmf.gate]]\n[[gate]]\n")
    document = read_document(path)
    assert document.tables == {"schema": 1, "gate": [{}]}
    assert document.gate_lines == (4,)
    assert document.prefix == ("tool", "fgmf")


def test_a_byte_order_mark_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "fgmf.toml"
    path.write_text("schema = 1\n", encoding="utf-8-sig")
    assert read_document(path).tables == {"schema": 1}


@pytest.mark.parametrize(
    ("contents", "location", "got"),
    [
        (b"schema = 1\nseed 3\n", "line 2, column 6", "'seed 3'"),
        (b"a = 1\nb = [1,\n", "line 2, at the end of the file", "'b = [1,'"),
        (b"", None, None),
        (b"a = 1\na = 2\n", "line 2, column 6", "'a = 2'"),
        (b"a = 1\nb = '\xff'\n", "line 2", "the byte 0xff"),
        (b"a = " + b"1" * 5000, "(the whole file)", "another text"),
        (b"a = " + b"[" * 100_000, "(the whole file)", "brackets nested too deeply"),
    ],
)
def test_where_a_file_is_broken(
    tmp_path: Path, contents: bytes, location: str | None, got: str | None
) -> None:
    path = tmp_path / "fgmf.toml"
    path.write_bytes(contents)
    if location is None:
        assert read_document(path).tables == {}
        return
    problem = problem_in(path)
    assert (problem.location, problem.got) == (location, got)


@pytest.mark.parametrize("kind", ["missing", "directory"])
def test_an_unreadable_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "fgmf.toml"
    if kind == "directory":
        path.mkdir()
    problem = problem_in(path)
    assert problem.expected == "a readable file"
    assert "Error: " in problem.got


@pytest.mark.parametrize("text", ["[tool]\n", "[project]\n", "[tool]\nfgmf = 3\n"])
def test_a_project_file_without_the_table(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(text)
    assert problem_in(path).location == "tool.fgmf"
