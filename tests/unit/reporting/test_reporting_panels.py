"""Evidence drawn on the page: right places, nothing from the evidence breaks out or is lost."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fgmf.reporting.further_panels import export_facts, further_panels
from fgmf.reporting.page import render_page
from fgmf.reporting.panels import changes_of, log_facts, panels_of
from fgmf.verdict import Outcome, Verdict

HOSTILE = "<script>alert('x')</script>"
CORRUPTIONS = {
    "corruptions": [
        {"title": HOSTILE, "accuracy": 0.75, "by_severity": {"1": 1.0, "2": 0.5}},
        {"name": "jpeg", "accuracy": None, "by_severity": "none"},
    ]
}
MASKING = {
    "masking": "masked",
    "gaps": [{"naive": "fgsm", "naive_accuracy": 0.9, "adaptive_accuracy": 0.25}],
}
FAITHFUL = {
    "comparisons": [
        {
            "title": "deletion",
            "replacement": "mean",
            "score": 0.2,
            "higher_is_better": False,
            "references": [{"name": "random", "score": 0.6}, {"name": "edges", "score": 0.4}],
        },
        {"title": "broken", "score": None},
    ]
}
STABLE = {"stability": [{"name": "noise", "similarity": 0.5, "lowest": -1.0}]}
LOG = {
    "log_outcome": "complete",
    "head": "sha256:" + "a" * 64,
    "anchor": "head",
    "streams": [{"stream": HOSTILE, "records": 3, "samples": 6, "ended": True}],
}
RUN: dict[str, Any] = {
    "comparisons": [
        {
            "gate": HOSTILE,
            "status": "compared",
            "outcome": "fail",
            "worst": {
                "images": 100,
                "robust_before": 60,
                "robust_now": 50,
                "newly_broken": 12,
                "newly_fixed": 2,
                "interval": {"lower": -0.18, "upper": -0.02},
            },
        },
        {"gate": "new", "status": "no baseline", "outcome": None, "reason": "there is none"},
        "not an object",
    ]
}


def verdict(evidence: dict[str, Any]) -> Verdict:
    return Verdict(gate="g", kind="k", outcome=Outcome.FAIL, reason="r", evidence=evidence)


def places(evidence: dict[str, Any]) -> list[list[tuple[float, str]]]:
    (panel,) = panels_of(verdict(evidence))
    return [[(round(m.place, 3), m.style) for m in row.marks] for row in panel.rows]


def test_marks_stand_where_their_values_are() -> None:
    assert places(CORRUPTIONS) == [[(100, "other"), (50, "other"), (75, "main")], []]
    assert places(MASKING) == [[(90, "other"), (25, "bad")]]
    assert places(FAITHFUL) == [[(96, "other"), (50, "other"), (4, "main")]]
    assert places(STABLE) == [[(0, "other"), (75, "main")]]


def test_rows_say_their_numbers_in_words_too() -> None:
    (panel,) = panels_of(verdict(FAITHFUL))
    assert panel.rows[0].name == "deletion (mean), less is better"
    assert panel.rows[0].words == "0.200; random 0.600, edges 0.400"
    assert panel.ends is None
    (panel,) = panels_of(verdict(MASKING))
    assert panel.rows[0].words == "0.900 → 0.250"


@pytest.mark.parametrize("odd", [None, "text", 3, [3], [{}], {"a": 1}])
def test_odd_evidence_is_passed_over(odd: Any) -> None:
    names = ("corruptions", "gaps", "comparisons", "stability", "log_outcome", "streams", "head")
    entry = verdict(dict.fromkeys(names, odd))
    render_page([entry], run={"comparisons": odd}, pictures={})


def test_values_outside_their_scale_are_not_drawn() -> None:
    assert places({"gaps": [{"naive": "a", "naive_accuracy": 7, "adaptive_accuracy": -1}]}) == [[]]
    assert places({"stability": [{"name": "n", "similarity": 9, "lowest": -3}]}) == [[]]


def test_a_log_shows_its_head_and_streams() -> None:
    facts = log_facts(verdict(LOG))
    assert facts is not None
    assert (facts.head, facts.anchor) == (LOG["head"], "head")
    assert facts.streams == ((HOSTILE, "3", "6", "yes"),)
    assert log_facts(verdict({})) is None


def test_changes_against_baselines() -> None:
    compared, missing = changes_of(RUN)
    assert compared.shares == "0.600 → 0.500"
    assert compared.difference == "-0.100 [-0.180, -0.020]"
    assert compared.images == "12 newly broken, 2 newly fixed of 100"
    assert missing.images == "no baseline: there is none"
    assert changes_of({}) == []


def test_everything_is_on_the_page_and_escaped() -> None:
    evidence = {**CORRUPTIONS, **MASKING, **FAITHFUL, **STABLE, **LOG}
    page = render_page([verdict(evidence)], run=RUN, pictures={})
    assert "<script" not in page
    for text in (
        "Accuracy by corruption",
        "Is robust accuracy an illusion?",
        "Explainer against references",
        "Do explanations stay?",
        "The log",
        "Against the baseline",
        "sha256:" + "a" * 64,
    ):
        assert text in page
    marks = [float(x) for x in re.findall(r'class="mark \w+" x="([\d.]+)"', page)]
    assert len(marks) == 3 + 2 + 3 + 2
    assert all(0 <= x <= 394 for x in marks)


def test_self_tests_stand_beside_random_search() -> None:
    evidence = {
        "test_success": 0.97,
        "random_search_success": 0.2,
        "scaling": {"1": {"robust_accuracy": 0.4}, "100": {"robust_accuracy": 0.9}},
    }
    found, scaled = further_panels(verdict(evidence))
    assert [row.words for row in found.rows] == ["0.970", "0.200"]
    assert [row.marks[0].place for row in scaled.rows] == [40.0, 90.0]
    assert further_panels(verdict({"test_success": 7, "scaling": "none"}))[0].rows[0].marks == ()
    assert further_panels(verdict({})) == []


def test_a_file_stands_beside_its_source() -> None:
    evidence = {
        "artefact": "m.onnx",
        "source_robust_accuracy": 0.5,
        "robust_accuracy": 0.45,
        "clean_accuracy": 0.9,
    }
    (panel,) = further_panels(verdict(evidence))
    assert [row.words for row in panel.rows] == ["0.900", "0.500", "0.450"]


def test_provenance_is_words_and_escaped() -> None:
    evidence = {
        "artefact": "<b>m.onnx",
        "graph": "sha256:1",
        "mask_log": {"run": "r", "head": "sha256:2"},
        "verdicts": [{"gate": "robust", "outcome": "pass"}],
    }
    shown = verdict(evidence)
    assert export_facts(shown)[-2:] == [
        ("mask log", "run r, head sha256:2"),
        ("recorded gate", "robust: pass"),
    ]
    page = render_page([shown], run={}, pictures={})
    assert "&lt;b&gt;m.onnx" in page
    assert "<b>m.onnx" not in page
    assert export_facts(verdict({})) == []
