"""The study of whole gates counts what is wrong, looks outcomes up truly, and sees differences."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from fgmf import Classifier
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from fgmf.datasets import Samples

    Load = Callable[[str], Any]


@pytest.mark.parametrize(
    ("bar_above", "outcome", "wrong"),
    [
        (True, Outcome.PASS, True),
        (True, Outcome.FAIL, False),
        (False, Outcome.FAIL, True),
        (False, Outcome.PASS, False),
        (False, Outcome.INCONCLUSIVE, False),
        (True, Outcome.INCONCLUSIVE, False),
    ],
)
def test_a_verdict_on_the_wrong_side_is_wrong(
    study: Load, outcome: Outcome, *, bar_above: bool, wrong: bool
) -> None:
    ended = study("gate_runs").Ended(bar_above=bar_above, outcome=outcome, images=3)
    assert ended.wrong is wrong


def test_a_row_counts_both_sides(study: Load) -> None:
    runs = study("gate_runs")
    ended = [
        runs.Ended(bar_above=above, outcome=outcome, images=10)
        for above, outcome in [
            (True, Outcome.PASS),
            (True, Outcome.FAIL),
            (False, Outcome.PASS),
            (False, Outcome.INCONCLUSIVE),
        ]
    ]
    row = runs.row_of(runs.MODES[0], ended)
    assert (row["runs"], row["wrong"], row["decided"]) == (4, 1, 3)
    assert row["bar"]["2 points above"] == {"pass": 1, "fail": 1}
    assert row["interval"] == pytest.approx([0.0063, 0.8059], abs=1e-4)


@pytest.fixture
def subject(study: Load, robust_digits_model: torch.nn.Module, digits_test: Samples) -> Any:
    few = type(digits_test)(images=digits_test.images[:90], labels=digits_test.labels[:90])
    classifier = Classifier(robust_digits_model, bounds=(0, 1), device="cpu")
    return study("gate_runs").subject_of(classifier, few)


@pytest.mark.parametrize("population", ["dataset", "distribution"])
@pytest.mark.parametrize("sequential", [False, True])
def test_a_gate_that_looks_outcomes_up_ends_like_one_that_attacks(
    study: Load, subject: Any, population: str, *, sequential: bool
) -> None:
    runs = study("gate_runs")
    mode = runs.Mode(sequential=sequential, population=population, images=70)
    ended = runs.runs_of(subject, mode, runs=4, real=1)
    assert [one.bar_above for one in ended] == [False, False, True, True]


def test_an_image_that_ends_otherwise_is_an_error(study: Load, subject: Any) -> None:
    runs = study("gate_runs")
    mode = runs.Mode(sequential=False, population="dataset", images=90)
    subject.robust[3] = ~subject.robust[3]
    with pytest.raises(SystemExit, match="image 3 to end"):
        runs.run_gate(subject, mode, seed=0, bar_above=True)


def test_differences_are_named(study: Load) -> None:
    differences = study("gate_ways").differences
    first = [{"gate": "a", "outcome": "pass"}, {"gate": "b", "outcome": "pass"}]
    assert list(differences(first, [dict(one) for one in first])) == []
    other = [{"gate": "a", "outcome": "pass"}, {"gate": "b", "outcome": "fail", "seed": 1}]
    assert list(differences(first, other)) == ["b: outcome", "b: seed"]
    assert list(differences(first, first[:1])) == ["gates ['a', 'b'] and ['a']"]


def test_the_gate_file_has_every_way_to_judge(study: Load) -> None:
    text = study("gate_ways").gate_file(0.5, seed=3, images=40)
    document = tomllib.loads(text)
    gates = document["gate"]
    assert len({gate["name"] for gate in gates}) == 12
    assert {(gate["sequential"], gate["population"]) for gate in gates} == {
        (sequential, population)
        for sequential in (False, True)
        for population in ("dataset", "distribution")
    }
    assert sum("attacks" not in gate for gate in gates) == 4
    assert {gate["min_robust_accuracy"] for gate in gates} == {0.48, 0.5, 0.52}
