"""The API reference is what the source says, and every public name is in it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

import fgmf

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
assert SPEC is not None
assert SPEC.loader is not None
reference: Any = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(reference)


def test_the_pages_are_what_the_source_says() -> None:
    written = {path.name: path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md")}
    made = reference.pages()
    stale = sorted(n for n in {*written, *made} if written.get(n) != made.get(n))
    assert stale == [], "run `python docs/make_reference.py`, and commit what it writes"


def test_every_public_name_is_described() -> None:
    modules = {"datasets", "gates", "__version__"}
    named = {entry.name for entry in reference.entries("fgmf")}
    assert named == set(fgmf.__all__) - modules
    assert {"fgmf.datasets", "fgmf.gates"} <= set(reference.public_modules())


@pytest.mark.parametrize("module", reference.public_modules())
def test_every_entry_has_words(module: str) -> None:
    import ast

    for entry in reference.entries(module):
        if isinstance(entry.node, ast.ClassDef | ast.FunctionDef):
            assert ast.get_docstring(entry.node), f"{entry.module}.{entry.name}"


def test_a_page_says_shapes_errors_and_costs() -> None:
    page = (ROOT / "docs" / "reference" / "fgmf.gates.md").read_text()
    section = page.partition("## RobustnessGate")[2].partition("\n## ")[0]
    for words in ("epsilon: float | str", "Cost:", "(n,) class indices", "Returns:"):
        assert words in section
