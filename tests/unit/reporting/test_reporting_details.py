"""What follows the headline, and the table of all gates."""

from __future__ import annotations

import dataclasses
from textwrap import dedent
from typing import Any

import pytest

from fgmf.reporting import render_details, render_table
from fgmf.verdict import Condition, Cost, Finding, Interval, Outcome, Verdict


def interval(lower: float, upper: float) -> Interval:
    return Interval(lower=lower, upper=upper, confidence=0.95, method="clopper-pearson")


FAILED = Verdict(
    gate="robust-linf",
    kind="robustness",
    outcome=Outcome.FAIL,
    reason="the interval lies below the threshold",
    measured=0.412,
    interval=interval(0.3684, 0.4566),
    threshold=0.5,
    image_count=500,
    seed=7,
    cost=Cost(forward_passes=12345, backward_passes=678, seconds=3.21),
    conditions=(
        Condition(
            quantity="robust_accuracy",
            measured=0.412,
            interval=interval(0.3684, 0.4566),
            threshold=0.5,
            outcome=Outcome.FAIL,
        ),
        Condition(
            quantity="clean_accuracy",
            measured=0.95,
            interval=interval(0.927, 0.967),
            threshold=0.9,
            outcome=Outcome.PASS,
        ),
    ),
    findings=(
        Finding(
            name="train-mode",
            severity="note",
            message="2 modules in train mode",
            fix="call model.eval()",
            waived=True,
        ),
        Finding(
            name="saturated-logits",
            severity="warning",
            message="largest logit 812",
            fix="return logits, not scaled ones",
        ),
    ),
    evidence={
        "threat": "Linf eps 8/255",
        "attacks": [
            {
                "name": "fgsm",
                "title": "FGSM",
                "parameters": {"random_start": True},
                "restarts": 1,
                "attacked": 475,
                "broken": 120,
                "unverified": 0,
                "failed": 0,
                "no_start": 0,
            },
            {
                "name": "boundary",
                "title": "Boundary",
                "parameters": {},
                "restarts": 2,
                "attacked": 355,
                "broken": 149,
                "unverified": 2,
                "failed": 0,
                "no_start": 4,
            },
        ],
        "per_class": {
            "0": {"images": 250, "clean_accuracy": 0.98, "robust_accuracy": 0.7},
            "cat\x1b[31m": {"images": 150, "clean_accuracy": 0.9, "robust_accuracy": 0.124},
            "2": {"images": 99, "clean_accuracy": 0.97, "robust_accuracy": 0.3},
            "3": {"images": 1, "clean_accuracy": 0.97, "robust_accuracy": 0.2},
        },
        "broken_images": list(range(0, 50, 2)),
        "misclassified_images": [5],
        "unverified_images": [11, 12],
        "verified": "269/269",
    },
    artifacts=(
        ".fgmf/failures/robust-linf/broken.png",
        ".fgmf/failures/robust-linf/repro.json",
    ),
    reproduce="fgmf check fgmf.toml --gate robust-linf --seed 7",
)


def test_golden_details() -> None:
    assert render_details(FAILED) == dedent(
        r"""
        reason: the interval lies below the threshold
        conditions:
          FAIL          robust accuracy 0.412 [0.368, 0.457] < 0.50 required
          PASS          clean accuracy 0.950 [0.927, 0.967] >= 0.90 required
        attacks:
          FGSM      broke 120 of 475 attacked  (random_start=True, restarts=1)
          Boundary  broke 149 of 355 attacked; 2 unverified; 4 without a starting point  (restarts=2)
        worst classes:
          cat\x1b[31m: robust 0.124 (clean 0.900, 150 images)
          3: robust 0.200 (clean 0.970, 1 image)
          2: robust 0.300 (clean 0.970, 99 images)
        findings:
          note (waived)  train-mode        2 modules in train mode
                                           fix: call model.eval()
          warning        saturated-logits  largest logit 812
                                           fix: return logits, not scaled ones
        broken images: 25, at 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38 … and 5 more
        misclassified without an attack: 1, at 5
        unverified (an example did not hold in a fresh pass): 2, at 11, 12
        counterexamples: .fgmf/failures/robust-linf: broken.png, repro.json (re-verified 269/269)
        cost: 12345 forward and 678 backward passes, 3.2 s
        reproduce: fgmf check fgmf.toml --gate robust-linf --seed 7
        """  # noqa: E501 - as it is printed
    ).strip("\n")


def test_an_error_does_not_repeat_its_headline() -> None:
    reason = "factory shop.model:load raised\nKeyError: 'weights'\n\n  in load"
    verdict = Verdict(gate="g", kind="robustness", outcome=Outcome.ERROR, reason=reason)
    assert render_details(verdict) == "  KeyError: 'weights'\n    in load"


@pytest.mark.parametrize(
    ("artifacts", "expected"),
    [(("a/b.png",), "a/b.png"), (("a/b", "c/d"), "a/b, c/d"), (("a", "b"), "a, b")],
)
def test_files_of_no_common_directory_are_listed(artifacts: tuple[str, ...], expected: str) -> None:
    details = render_details(dataclasses.replace(FAILED, artifacts=artifacts))
    assert f"counterexamples: {expected} (re-verified 269/269)" in details


def test_unsaved_counterexamples_are_said_to_be_unsaved() -> None:
    details = render_details(dataclasses.replace(FAILED, artifacts=()))
    assert "counterexamples: not saved (re-verified 269/269)" in details


STRANGE: list[Any] = [None, 3, "text", [1], {"a": 1}, [{"title": 4}], [None], {"x": {}}, True]


@pytest.mark.parametrize("value", STRANGE, ids=repr)
def test_evidence_of_another_shape_never_breaks_a_report(value: Any) -> None:
    evidence = dict.fromkeys((*FAILED.evidence, "dataset_size", "population"), value)
    verdict = dataclasses.replace(FAILED, evidence=evidence)
    assert "reproduce: fgmf check" in render_details(verdict)


def test_golden_table() -> None:
    passed = Verdict(
        gate="clean",
        kind="robustness",
        outcome=Outcome.PASS,
        reason="",
        measured=0.9,
        threshold=0.85,
        image_count=10000,
        cost=Cost(seconds=12.34),
    )
    broken = Verdict(
        gate="猫", kind="robustness", outcome=Outcome.ERROR, reason="no data\nsecond line"
    )
    clean_missed = dataclasses.replace(
        FAILED,
        findings=(),
        conditions=(
            dataclasses.replace(FAILED.conditions[0], outcome=Outcome.PASS),
            dataclasses.replace(FAILED.conditions[1], outcome=Outcome.FAIL, threshold=0.97),
        ),
    )
    accepted = dataclasses.replace(
        passed, outcome=Outcome.INCONCLUSIVE, accepted=True, reason="time ran out"
    )
    assert render_table([FAILED, passed, broken, clean_missed, accepted]) == dedent(
        """
        outcome                  gate         kind        measured              required  images    time  remarks
        FAIL                     robust-linf  robustness  0.412 [0.368, 0.457]  >= 0.50      500   3.2 s  1 warning; 1 waived
        PASS                     clean        robustness  0.900                 >= 0.85    10000  12.3 s
        ERROR                    猫           robustness  -                     -              -   0.0 s  no data
        FAIL                     robust-linf  robustness  0.412 [0.368, 0.457]  >= 0.50      500   3.2 s  clean accuracy 0.950 [0.927, 0.967] < 0.97 required
        INCONCLUSIVE (accepted)  clean        robustness  0.900                 >= 0.85    10000  12.3 s  time ran out
        """  # noqa: E501 - as it is printed
    ).strip("\n")


def test_no_verdicts_make_no_table() -> None:
    assert render_table([]) == ""
