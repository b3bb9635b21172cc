from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgmf.verdict import Condition, Cost, Finding, Interval, Outcome, Verdict

numbers = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(max_size=10)
evidence = st.dictionaries(
    texts,
    st.recursive(
        st.none() | st.booleans() | st.integers() | numbers | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=5,
    ),
    max_size=4,
)
intervals = st.builds(Interval, lower=numbers, upper=numbers, confidence=numbers, method=texts)
outcomes = st.sampled_from(Outcome)
costs = st.builds(
    Cost, forward_passes=st.integers(0), backward_passes=st.integers(0), seconds=numbers
)
conditions = st.builds(
    Condition,
    quantity=texts,
    measured=st.none() | numbers,
    interval=st.none() | intervals,
    threshold=numbers,
    outcome=outcomes,
    subject=texts,
    direction=st.sampled_from(["at-least", "at-most"]),
)
findings = st.builds(
    Finding,
    name=texts,
    severity=st.sampled_from(["error", "warning", "note"]),
    message=texts,
    fix=texts,
    evidence=evidence,
    waived=st.booleans(),
)
verdicts = st.builds(
    Verdict,
    gate=texts,
    kind=texts,
    outcome=outcomes,
    reason=texts,
    measured=st.none() | numbers,
    interval=st.none() | intervals,
    threshold=st.none() | numbers,
    image_count=st.integers(0),
    seed=st.none() | st.integers(0, 2**63 - 1),
    cost=costs,
    conditions=st.lists(conditions, max_size=2).map(tuple),
    findings=st.lists(findings, max_size=2).map(tuple),
    evidence=evidence,
    artifacts=st.lists(texts, max_size=2).map(tuple),
    reproduce=texts,
    accepted=st.booleans(),
)


def _verdict(**changes: Any) -> Verdict:
    values: dict[str, Any] = {
        "gate": "g",
        "kind": "robustness",
        "outcome": Outcome.PASS,
        "reason": "",
    }
    return Verdict(**values | changes)


@given(verdicts)
def test_a_verdict_crosses_processes_as_json(verdict: Verdict) -> None:
    text = json.dumps(verdict.as_document(), allow_nan=False)
    assert Verdict.from_document(json.loads(text)) == verdict


@given(verdicts)
def test_a_document_holds_plain_json_types_only(verdict: Verdict) -> None:
    def check(value: object) -> None:
        assert type(value) in {type(None), bool, int, float, str, list, dict}, value
        if isinstance(value, dict):
            assert all(type(key) is str for key in value)
            value = list(value.values())
        if isinstance(value, list):
            for entry in value:
                check(entry)

    check(verdict.as_document())


@given(verdicts)
def test_a_document_is_a_copy(verdict: Verdict) -> None:
    document: dict[str, Any] = verdict.as_document()
    before = verdict.as_document()
    document["evidence"]["added"] = 1
    document["cost"]["seconds"] = -1.0
    assert verdict.as_document() == before


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Verdict)])
def test_a_document_without_a_field_is_refused(field: str) -> None:
    document = _verdict(seed=3).as_document()
    del document[field]
    with pytest.raises(KeyError, match=field):
        Verdict.from_document(document)


def test_a_document_with_an_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        Verdict.from_document({**_verdict().as_document(), "colour": "green"})


def test_a_document_with_an_unknown_outcome_is_refused() -> None:
    with pytest.raises(ValueError, match="skipped"):
        Verdict.from_document({**_verdict().as_document(), "outcome": "skipped"})


@pytest.mark.parametrize(
    ("outcome", "accepted", "passed"),
    [
        (Outcome.PASS, False, True),
        (Outcome.PASS, True, True),
        (Outcome.INCONCLUSIVE, False, False),
        (Outcome.INCONCLUSIVE, True, True),
        (Outcome.FAIL, False, False),
        (Outcome.FAIL, True, False),
        (Outcome.ERROR, False, False),
        (Outcome.ERROR, True, False),
    ],
)
def test_only_a_pass_and_an_accepted_doubt_let_through(
    outcome: Outcome, accepted: bool, passed: bool
) -> None:
    assert _verdict(outcome=outcome, accepted=accepted).passed is passed


@given(costs, costs)
def test_costs_add_up(first: Cost, second: Cost) -> None:
    total = first + second
    assert total.forward_passes == first.forward_passes + second.forward_passes
    assert total.backward_passes == first.backward_passes + second.backward_passes
    assert total.seconds == first.seconds + second.seconds
    assert first + Cost() == first
