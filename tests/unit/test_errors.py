from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from fgmf import errors
from fgmf.errors import (
    FgmfError,
    GateFailure,
    GateRegression,
    InvalidBaseline,
    InvalidGateFile,
    InvalidInput,
    Problem,
)

RAISED = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value)
    and issubclass(value, BaseException)
    and value.__module__ == errors.__name__
]


@pytest.mark.parametrize("error", RAISED)
def test_all_but_the_failed_gate_have_one_root(error: type[BaseException]) -> None:
    assert issubclass(error, FgmfError) is (error not in {GateFailure, GateRegression})


@pytest.mark.parametrize("error", RAISED)
def test_only_a_failed_gate_looks_like_a_failed_assertion(error: type[BaseException]) -> None:
    assert issubclass(error, AssertionError) is (error in {GateFailure, GateRegression})


def test_invalid_input_can_be_caught_as_value_error() -> None:
    with pytest.raises(ValueError, match="two"):
        raise InvalidInput("expected one, got two")


def _invalid(count: int) -> InvalidGateFile:
    problems = [
        Problem(location=f"gate[{i}].epsilon", got="-1", expected="a number >= 0")
        for i in range(count)
    ]
    return InvalidGateFile("fgmf.toml", problems)


def test_every_problem_of_a_gate_file_is_told_at_once() -> None:
    assert str(_invalid(2)).splitlines() == [
        "fgmf.toml: 2 problems in the gate specification",
        "  gate[0].epsilon: expected a number >= 0, got -1",
        "  gate[1].epsilon: expected a number >= 0, got -1",
    ]


def test_one_problem_is_singular() -> None:
    assert str(_invalid(1)).startswith("fgmf.toml: 1 problem in")


@pytest.mark.parametrize("duplicate", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])  # noqa: S301
def test_an_invalid_gate_file_crosses_processes(duplicate) -> None:  # noqa: ANN001
    error = _invalid(2)
    again = duplicate(error)
    assert (str(again), again.source, again.problems) == (str(error), "fgmf.toml", error.problems)


@pytest.mark.parametrize("duplicate", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])  # noqa: S301
def test_an_invalid_baseline_crosses_processes(duplicate) -> None:  # noqa: ANN001
    error = InvalidBaseline("robust.json", ["digest: changed", "gate: missing"])
    again = duplicate(error)
    assert (str(again), again.problems) == (str(error), error.problems)
    assert str(error) == "robust.json: 2 problems in the baseline: digest: changed; gate: missing"
