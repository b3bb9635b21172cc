"""Names of gates that are written in tests: valid, distinct, and the same in every run."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_fgmf.naming import gate_name_for, marker_name, node_id

VALID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=@/-]{0,119}")


def item(nodeid: str) -> Any:
    parent, _, name = nodeid.rpartition("::")
    return SimpleNamespace(
        nodeid=f"{nodeid}@group", parent=SimpleNamespace(nodeid=parent), name=name
    )


def name(nodeid: str, occurrence: int = 1) -> str:
    return gate_name_for(item(nodeid), occurrence=occurrence)


@pytest.mark.parametrize(
    ("nodeid", "expected"),
    [
        ("tests/test_a.py::test_x", "tests/test_a.py/test_x"),
        ("tests/test_a.py::TestA::test_x", "tests/test_a.py/TestA/test_x"),
        ("test_a.py::test_x[linf-0.1]", "test_a.py/test_x=linf-0.1"),
    ],
)
def test_plain_node_ids_can_be_read_in_the_name(nodeid: str, expected: str) -> None:
    assert name(nodeid) == expected
    assert name(nodeid, 2) == f"{expected}@2"


path = st.from_regex(r"(tests/)?test_[a-z]{1,4}\.py", fullmatch=True)
function = st.from_regex(r"test_[a-z_0-9]{0,60}", fullmatch=True)
parameters = st.none() | st.text(
    st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="[]:"), max_size=80
)
node_ids = st.tuples(path, function, parameters).map(
    lambda parts: f"{parts[0]}::{parts[1]}" + ("" if parts[2] is None else f"[{parts[2]}]")
)


@given(nodeid=node_ids, occurrence=st.integers(1, 1000))
def test_every_name_is_valid(nodeid: str, occurrence: int) -> None:
    assert VALID.fullmatch(name(nodeid, occurrence))


@given(first=node_ids, second=node_ids)
def test_names_are_distinct(first: str, second: str) -> None:
    assert (name(first) == name(second)) is (first == second)
    assert name(first) != name(first, 2)


@pytest.mark.parametrize(
    "nodeids",
    [
        ("test_a.py::test_x[a b]", "test_a.py::test_x[a-b]"),
        ("test_a.py::test_x[é]", "test_a.py::test_x[è]"),
        ("test_a.py::" + "x" * 200 + "1", "test_a.py::" + "x" * 200 + "2"),
        ("test_a.py::test_x", "test_a.py::test_x[]"),
    ],
)
def test_what_the_name_cannot_hold_is_told_apart(nodeids: tuple[str, str]) -> None:
    first, second = map(name, nodeids)
    assert first != second
    assert VALID.fullmatch(first)


def test_the_group_of_a_worker_is_no_part_of_the_id() -> None:
    assert node_id(item("test_a.py::test_x")) == "test_a.py::test_x"


def test_markers_are_identifiers() -> None:
    assert marker_name("gradient-masking") == "gradient_masking"
