"""The JSON report, its schema, and the JUnit properties."""

from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
import sys
from typing import Any
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pytest

from fgmf.errors import InvalidInput
from fgmf.reporting import encode_report, junit_properties, report_document, report_schema
from fgmf.verdict import Condition, Cost, Finding, Interval, Outcome, Verdict

INTERVAL = Interval(lower=0.3684, upper=0.4566, confidence=0.95, method="clopper-pearson")
RUN = {"seed": 7, "profile": "default", "gate_file": "fgmf.toml"}


def verdict_named(gate: str, **changes: Any) -> Verdict:
    values: dict[str, Any] = {
        "gate": gate,
        "kind": "robustness",
        "outcome": Outcome.FAIL,
        "reason": "below",
        "measured": 0.412,
        "interval": INTERVAL,
        "threshold": 0.5,
        "image_count": 500,
        "seed": 2**62,
        "cost": Cost(forward_passes=10, backward_passes=5, seconds=1.5),
        "conditions": (
            Condition(
                quantity="robust_accuracy",
                measured=0.412,
                interval=INTERVAL,
                threshold=0.5,
                outcome=Outcome.FAIL,
            ),
        ),
        "findings": (Finding(name="train-mode", severity="note", message="m", fix="f"),),
        "evidence": {"threat": "Linf eps 8/255", "broken_images": [1, 2]},
        "artifacts": (".fgmf/failures/a/broken.png",),
        "reproduce": "fgmf check",
    }
    return Verdict(**(values | changes))


def check_schema(document: Any) -> None:
    schema = report_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(document)


def test_every_outcome_satisfies_the_schema() -> None:
    verdicts = [
        verdict_named("b"),
        verdict_named("a", outcome=Outcome.PASS, accepted=True),
        Verdict(gate="e", kind="replay", outcome=Outcome.ERROR, reason="no data"),
        verdict_named("i", outcome=Outcome.INCONCLUSIVE, measured=None, interval=None),
    ]
    document = json.loads(encode_report(report_document(verdicts, run=RUN)))
    check_schema(document)
    assert document["schema"] == "fgmf-report/1"
    assert document["run"] == RUN
    assert [entry["gate"] for entry in document["verdicts"]] == ["a", "b", "e", "i"]
    assert document["verdicts"][1]["outcome"] == "fail"
    assert document["verdicts"][1]["interval"]["upper"] == 0.4566


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(Verdict)])
def test_the_schema_misses_no_field(key: str) -> None:
    document = json.loads(encode_report(report_document([verdict_named("a")], run=RUN)))
    check_schema(document)
    without = copy.deepcopy(document)
    del without["verdicts"][0][key]
    with pytest.raises(jsonschema.ValidationError, match=key):
        check_schema(without)


def test_the_schema_refuses_another_version_and_outcome() -> None:
    document: Any = report_document([verdict_named("a")], run=RUN)
    with pytest.raises(jsonschema.ValidationError):
        check_schema(document | {"schema": "fgmf-report/2"})
    document["verdicts"][0]["outcome"] = "green"
    with pytest.raises(jsonschema.ValidationError):
        check_schema(document)


def test_order_of_arrival_and_cost_do_not_show() -> None:
    first = [verdict_named("a"), verdict_named("a", kind="other"), verdict_named("b")]
    second = [
        dataclasses.replace(verdict, cost=Cost(forward_passes=1, seconds=9.0))
        for verdict in reversed(first)
    ]
    documents: list[Any] = [report_document(run, run=RUN) for run in (first, second)]
    assert documents[0] != documents[1]
    for document in documents:
        for entry in document["verdicts"]:
            del entry["cost"]
    assert encode_report(documents[0]) == encode_report(documents[1])


def test_numbers_of_numpy_and_not_finite_ones_become_json() -> None:
    evidence = {
        "single": np.float32(0.5),
        "count": np.int64(3),
        "nan": float("nan"),
        "nested": ({"inf": np.float64("inf")},),
    }
    document: Any = report_document([verdict_named("a", evidence=evidence)], run=RUN)
    check_schema(json.loads(encode_report(document)))
    assert document["verdicts"][0]["evidence"] == {
        "single": 0.5,
        "count": 3,
        "nan": None,
        "nested": [{"inf": None}],
    }
    assert type(document["verdicts"][0]["evidence"]["count"]) is int


def test_what_is_not_json_is_named() -> None:
    broken = verdict_named("a", evidence={"deep": [{"here": object()}]})
    with pytest.raises(InvalidInput, match=r"at a: evidence\.deep\[0\]\.here, got object"):
        report_document([broken], run=RUN)


def test_text_that_is_no_unicode_can_be_written() -> None:
    document = report_document([verdict_named("a", reason="\ud800 ü")], run=RUN)
    assert json.loads(encode_report(document))["verdicts"][0]["reason"] == "\ud800 ü"


def test_junit_properties_are_valid_xml() -> None:
    verdict = verdict_named("a\x1b[0m\x00", reproduce="fgmf check '<&\x08>'")
    properties = junit_properties(verdict)
    names = [name for name, _ in properties]
    assert len(names) == len(set(names))
    element = ElementTree.Element("properties")
    for name, value in properties:
        assert type(value) is str
        ElementTree.SubElement(element, "property", name=name, value=value)
    parsed = ElementTree.fromstring(ElementTree.tostring(element))  # noqa: S314 - our own text
    values = {entry.attrib["name"]: entry.attrib["value"] for entry in parsed}
    assert values["fgmf.gate"] == r"a\x1b[0m\x00"
    assert values["fgmf.outcome"] == "fail"
    assert values["fgmf.measured"] == "0.412"
    assert values["fgmf.upper"] == "0.4566"
    assert values["fgmf.seed"] == str(2**62)
    assert values["fgmf.findings"] == "train-mode"
    assert values["fgmf.headline"].startswith("robustness: 0.412 [0.368, 0.457] < 0.50 required")


def test_junit_leaves_out_what_was_not_measured() -> None:
    verdict = Verdict(gate="g", kind="robustness", outcome=Outcome.ERROR, reason="no data")
    names = {name for name, _ in junit_properties(verdict)}
    assert "fgmf.measured" not in names
    assert "fgmf.lower" not in names
    assert {"fgmf.outcome", "fgmf.forward_passes", "fgmf.image_count"} <= names


def test_reporting_imports_nothing_heavy() -> None:
    code = (
        "import sys, fgmf.reporting; "
        "print(sorted({'torch', 'numpy', 'pydantic', 'rich', 'typer'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
