"""Directories of gates: harmless, and never shared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgmf.failures import directory_name, load_failures

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["robust-linf", "a@linf=8", "v1.2_x", "a"])
def test_plain_names_stay_readable(name: str) -> None:
    assert directory_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", "A", "", ".", "..", "con", "nul.txt", "a.", "x\x00", "é", "a~b", "x" * 200],
)
def test_other_names_are_made_harmless(evidence: Any, tmp_path: Path, name: str) -> None:
    slug = directory_name(name)
    assert slug != name
    assert len(slug) < 64
    assert (tmp_path / slug).resolve().parent == tmp_path.resolve()
    evidence.save(tmp_path, count=1, gate=name)
    assert load_failures(tmp_path / slug).gate == name


@given(first=st.text(), second=st.text())
def test_two_gates_never_share_a_directory(first: str, second: str) -> None:
    slugs = [directory_name(name) for name in (first, second, first.upper(), directory_name(first))]
    for slug in slugs:
        assert slug == slug.lower()
        assert slug not in {"", ".", ".."}
        assert not set(slug) & set('/\\:*?"<>|\x00')
    if first != second:
        assert slugs[0] != slugs[1]
    if first != first.upper():
        assert slugs[0] != slugs[2]
    if first != slugs[0]:
        assert slugs[0] != slugs[3]
