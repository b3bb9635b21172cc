from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgmf.errors import Problem
from fgmf.gatefile.expansion import empty_lists, expand

KEYS = ("norm", "epsilon", "name", "kind")


def test_a_table_without_lists_is_one_gate_with_its_own_name() -> None:
    (variant,) = expand({"kind": "robustness", "norm": "l2", "epsilon": 1}, keys=KEYS)
    assert variant.values == {
        "kind": "robustness",
        "norm": "l2",
        "epsilon": 1,
        "name": "robustness",
    }
    assert variant.positions == {}


def test_lists_under_keys_that_the_kind_lacks_are_left_alone() -> None:
    entry = {"kind": "odd", "norm": ["l2", "linf"]}
    (variant,) = expand(entry, keys=("name", "kind"))
    assert variant.values["norm"] == ["l2", "linf"]


def test_a_name_that_is_no_text_is_left_to_validation() -> None:
    (variant,) = expand({"kind": "robustness", "name": 3, "epsilon": [1]}, keys=KEYS)
    assert variant.values["name"] == 3


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("epsilon", "epsilon[1]"),
        ("epsilon.deep", "epsilon[1].deep"),
        ("epsilon[0]", "epsilon[1][0]"),
        ("epsilons", "epsilons"),
        ("norm", "norm"),
    ],
)
def test_problems_point_into_the_list(location: str, expected: str) -> None:
    _, second = expand({"kind": "k", "norm": "l2", "epsilon": [1, 2]}, keys=KEYS)
    problem = second.locate(Problem(location=location, got="x", expected="y"))
    assert problem.location == expected


def test_an_empty_list_is_a_problem_and_no_gate() -> None:
    entry: dict[str, Any] = {"kind": "k", "norm": "l2", "epsilon": []}
    assert expand(entry, keys=KEYS) == []
    assert [problem.location for problem in empty_lists(entry, keys=KEYS)] == ["epsilon"]


norms = st.lists(st.sampled_from(["linf", "l2", "l1"]), min_size=1, max_size=3, unique=True)
budgets = st.lists(st.integers(1, 255).map("{}/255".format), min_size=1, max_size=4, unique=True)


@given(norms=norms, budgets=budgets)
def test_names_are_distinct_and_depend_on_their_own_values_only(
    norms: list[str], budgets: list[str]
) -> None:
    entry = {"kind": "k", "norm": norms, "epsilon": budgets}
    variants = expand(entry, keys=KEYS)
    names = [variant.values["name"] for variant in variants]
    assert len(set(names)) == len(norms) * len(budgets)
    for variant in variants:
        alone = {**entry, "norm": [variant.values["norm"]], "epsilon": [variant.values["epsilon"]]}
        (single,) = expand(alone, keys=KEYS)
        assert single.values == variant.values
