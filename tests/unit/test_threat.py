from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgmf.errors import InvalidInput
from fgmf.threat import ThreatModel, format_epsilon, parse_epsilon


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8/255", 8 / 255),
        (" 8 / 255 ", 8 / 255),
        ("0.3", 0.3),
        ("1", 1.0),
        ("0", 0.0),
        ("0.5/2", 0.25),
        ("1e-3", 1e-3),
        ("2.5E-2", 0.025),
        (0.25, 0.25),
        (2, 2.0),
        (0, 0.0),
    ],
)
def test_a_budget_is_read(text: float | str, value: float) -> None:
    epsilon = parse_epsilon(text)
    assert epsilon == value
    assert type(epsilon) is float


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_a_fraction_is_read_exactly(numerator: int, denominator: int) -> None:
    assert parse_epsilon(f"{numerator}/{denominator}") == float(Fraction(numerator, denominator))


@given(st.floats(0, 1e6))
def test_a_number_and_its_text_are_the_same_budget(epsilon: float) -> None:
    assert parse_epsilon(epsilon) == parse_epsilon(repr(epsilon)) == epsilon


@pytest.mark.parametrize(
    "bad",
    ["", "8/", "/255", "8/255/2", "-8/255", "eight", "nan", "inf", "8/0", "8/0.0", "1,5", "0x8",
     "٣", "1e999", "1" * 400,
     -0.1, float("nan"), float("inf"), -float("inf"), True, False, 10**400, None, [0.1]],
)  # fmt: skip
def test_what_is_no_budget_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidInput, match=r"expected .*epsilon"):
        parse_epsilon(bad)


def test_a_refused_text_is_shown() -> None:
    with pytest.raises(InvalidInput, match=r'fraction like "8/255", got \'8-255\''):
        parse_epsilon("8-255")


@pytest.mark.parametrize(
    ("epsilon", "text"),
    [
        (8 / 255, "8/255"),
        (1 / 255, "1/255"),
        (254 / 255, "254/255"),
        (1.0, "1"),
        (0.0, "0"),
        (0.3, "0.3"),
        (0.5, "0.5"),
        (0.4, "0.4"),
        (0.123456, "0.1235"),
        (8.0, "8"),
    ],
)
def test_a_budget_is_written_as_people_write_it(epsilon: float, text: str) -> None:
    assert format_epsilon(epsilon) == text


@given(st.integers(0, 254))
def test_a_written_fraction_is_read_back(numerator: int) -> None:
    assert parse_epsilon(format_epsilon(numerator / 255)) == numerator / 255


@given(st.floats(0, 1e3))
def test_a_written_budget_is_close_to_the_budget(epsilon: float) -> None:
    # Four significant digits.
    assert parse_epsilon(format_epsilon(epsilon)) == pytest.approx(epsilon, rel=1e-3, abs=0)


@pytest.mark.parametrize(
    ("norm", "text"), [("linf", "Linf eps 8/255"), ("l2", "L2 eps 8/255"), ("l1", "L1 eps 8/255")]
)
def test_a_threat_model_in_words(norm: Any, text: str) -> None:
    assert ThreatModel(norm=norm, epsilon=8 / 255).describe() == text


@pytest.mark.parametrize(
    "change",
    [
        {"norm": "l0"},
        {"norm": "Linf"},
        {"epsilon": -1.0},
        {"epsilon": float("nan")},
        {"epsilon": "8/255"},
        {"bounds": (1.0, 0.0)},
        {"bounds": (0.0, 0.0)},
        {"bounds": (0.0, float("inf"))},
        {"bounds": (float("nan"), 1.0)},
        {"bounds": (0.0,)},
    ],
)
def test_a_threat_model_is_checked(change: dict[str, Any]) -> None:
    values: dict[str, Any] = {"norm": "linf", "epsilon": 0.1, "bounds": (0.0, 1.0)}
    with pytest.raises(InvalidInput, match="expected"):
        ThreatModel(**values | change)


def test_a_threat_model_does_not_change() -> None:
    threat = ThreatModel(norm="l2", epsilon=0.5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        threat.epsilon = 1.0  # type: ignore[misc]
