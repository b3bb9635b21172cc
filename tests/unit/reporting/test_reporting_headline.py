"""The first line must stand alone, in every outcome."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgmf.gates.checking import settled
from fgmf.reporting import printable, render_headline, render_table
from fgmf.reporting.headline import describe_condition
from fgmf.reporting.text import shown_number, shown_threshold
from fgmf.verdict import Condition, Interval, Outcome, Verdict

EVIDENCE = {
    "threat": "Linf eps 8/255",
    "attacks": [{"name": "fgsm", "title": "FGSM"}, {"name": "pgd", "title": "PGD"}],
    "population": "distribution",
    "dataset_size": 1797,
}


def exact(lower: float, upper: float, method: str = "clopper-pearson") -> Interval:
    return Interval(lower=lower, upper=upper, confidence=0.95, method=method)


def condition(
    outcome: Outcome,
    measured: float,
    interval: Interval,
    threshold: float,
    *,
    quantity: str = "robust_accuracy",
    subject: str = "",
) -> Condition:
    return Condition(
        quantity=quantity,
        measured=measured,
        interval=interval,
        threshold=threshold,
        outcome=outcome,
        subject=subject,
    )


def verdict_of(*conditions: Condition, outcome: Outcome | None = None) -> Verdict:
    main = conditions[0]
    return Verdict(
        gate="robust-linf",
        kind="robustness",
        outcome=outcome or main.outcome,
        reason="why it is so",
        measured=main.measured,
        interval=main.interval,
        threshold=main.threshold,
        image_count=500,
        seed=7,
        conditions=conditions,
        evidence=EVIDENCE,
    )


FAILED = condition(Outcome.FAIL, 0.412, exact(0.3684, 0.4566), 0.5)
PASSED = condition(Outcome.PASS, 0.612, exact(0.5678, 0.6549), 0.5)
UNDECIDED = condition(Outcome.INCONCLUSIVE, 0.48, exact(0.4361, 0.5241), 0.5)
CLEAN_MISSED = condition(Outcome.FAIL, 0.812, exact(0.775, 0.845), 0.9, quantity="clean_accuracy")
CLASS_MISSED = condition(
    Outcome.FAIL,
    0.12,
    exact(0.045, 0.243),
    0.3,
    quantity="worst_class_robust_accuracy",
    subject="class 3",
)
ILLUSION = dataclasses.replace(FAILED, quantity="gap", direction="at-most", threshold=0.05)
CONTEXT = "worst of FGSM, PGD; Linf eps 8/255; n=500; 95 %; seed 7"


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (verdict_of(FAILED), f"robustness: 0.412 [0.368, 0.457] < 0.50 required ({CONTEXT})"),
        (verdict_of(PASSED), f"robustness: 0.612 [0.568, 0.655] >= 0.50 required ({CONTEXT})"),
        (
            verdict_of(UNDECIDED),
            f"robustness: 0.480 [0.436, 0.524] does not decide 0.50 required ({CONTEXT})",
        ),
        (
            dataclasses.replace(verdict_of(UNDECIDED), accepted=True),
            f"robustness: 0.480 [0.436, 0.524] does not decide 0.50 required, accepted ({CONTEXT})",
        ),
        (
            verdict_of(PASSED, CLEAN_MISSED, outcome=Outcome.FAIL),
            "robustness: clean accuracy 0.812 [0.775, 0.845] < 0.90 required "
            f"(robust accuracy 0.612 [0.568, 0.655] >= 0.50 required; {CONTEXT})",
        ),
        (
            verdict_of(PASSED, CLASS_MISSED, outcome=Outcome.FAIL),
            "robustness: worst class robust accuracy (class 3) 0.120 [0.045, 0.243] < 0.30 "
            f"required (robust accuracy 0.612 [0.568, 0.655] >= 0.50 required; {CONTEXT})",
        ),
        (
            verdict_of(FAILED, CLEAN_MISSED),
            "robustness: 0.412 [0.368, 0.457] < 0.50 required "
            f"(also missed: clean accuracy; {CONTEXT})",
        ),
    ],
    ids=["fail", "pass", "inconclusive", "accepted", "clean", "class", "both"],
)
def test_golden_headlines(verdict: Verdict, expected: str) -> None:
    assert render_headline(verdict) == expected


def test_an_error_says_its_reason() -> None:
    reason = "attack pgd failed: RuntimeError: shapes differ\nand a second line"
    verdict = Verdict(gate="g", kind="robustness", outcome=Outcome.ERROR, reason=reason)
    assert render_headline(verdict) == (
        "robustness: not measured: attack pgd failed: RuntimeError: shapes differ"
    )


def test_an_error_without_a_reason_is_still_not_measured() -> None:
    verdict = Verdict(gate="g", kind="robustness", outcome=Outcome.ERROR, reason=" \n")
    assert render_headline(verdict) == "robustness: not measured: no reason given"


def test_an_error_never_shows_a_condition_that_passed() -> None:
    verdict = verdict_of(PASSED, outcome=Outcome.ERROR)
    assert render_headline(verdict) == "robustness: not measured: why it is so"


def test_an_outcome_that_no_condition_explains_shows_the_reason() -> None:
    verdict = dataclasses.replace(
        verdict_of(PASSED, outcome=Outcome.INCONCLUSIVE), reason="max_seconds = 5 ran out"
    )
    assert render_headline(verdict) == f"robustness: max_seconds = 5 ran out ({CONTEXT})"


def test_a_verdict_without_conditions_shows_the_reason() -> None:
    verdict = Verdict(
        gate="g",
        kind="replay",
        outcome=Outcome.FAIL,
        reason="12/12 saved examples still break the model",
        image_count=12,
        evidence={"threat": "Linf eps 8/255"},
    )
    assert render_headline(verdict) == (
        "replay: 12/12 saved examples still break the model (Linf eps 8/255; n=12)"
    )


def test_a_measurement_of_the_whole_data_set_is_exact() -> None:
    point = condition(Outcome.FAIL, 0.4123, exact(0.4123, 0.4123, "exact"), 0.5)
    verdict = dataclasses.replace(
        verdict_of(point), image_count=1797, evidence={**EVIDENCE, "population": "dataset"}
    )
    assert render_headline(verdict) == (
        "robustness: 0.412 (exact) < 0.50 required "
        "(worst of FGSM, PGD; Linf eps 8/255; n=1797 of 1797; seed 7)"
    )


def test_images_left_undecided_show_as_a_range_with_its_reason() -> None:
    undecided = dataclasses.replace(UNDECIDED, measured=None)
    verdict = dataclasses.replace(verdict_of(undecided), reason="time ran out after 120 images")
    assert render_headline(verdict) == (
        "robustness: in [0.436, 0.524] does not decide 0.50 required "
        f"(time ran out after 120 images; {CONTEXT})"
    )


def test_one_attack_is_not_a_worst_case() -> None:
    attacks = [{"title": "PGD"}, {"title": "PGD"}]
    verdict = dataclasses.replace(verdict_of(FAILED), evidence={"attacks": attacks})
    assert "required (PGD; n=500" in render_headline(verdict)


def test_another_criterion_is_named() -> None:
    evidence = {**EVIDENCE, "criterion": "top-k"}
    verdict = dataclasses.replace(verdict_of(FAILED), evidence=evidence)
    assert "Linf eps 8/255; top-k; n=500" in render_headline(verdict)


def test_numbers_never_contradict_the_relation() -> None:
    close = condition(Outcome.FAIL, 0.4996, exact(0.4991, 0.49997), 0.5)
    assert "0.4996 [0.499, 0.49997] < 0.50 required" in render_headline(verdict_of(close))


@given(
    value=st.floats(0, 1),
    threshold=st.one_of(st.floats(0, 1), st.integers(0, 100).map(lambda k: k / 100)),
)
def test_a_shown_number_lies_on_its_side_of_the_threshold(value: float, threshold: float) -> None:
    shown = float(shown_number(value, threshold))
    if value < threshold - 1e-11:
        assert shown < threshold
    if value > threshold + 1e-11:
        assert shown > threshold


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(0.5, "0.50"), (0.45, "0.45"), (0.455, "0.455"), (1.0, "1.00"), (0.0, "0.00")],
)
def test_thresholds_are_written_as_the_user_wrote_them(threshold: float, expected: str) -> None:
    assert shown_threshold(threshold) == expected


@given(text=st.text())
def test_foreign_text_cannot_wrap_or_colour_the_line(text: str) -> None:
    evidence = {"threat": text, "attacks": [{"title": text}], "criterion": text}
    subject = condition(Outcome.FAIL, 0.1, exact(0.0, 0.2), 0.5, quantity=text, subject=text)
    verdict = dataclasses.replace(verdict_of(PASSED, subject), outcome=Outcome.FAIL, kind=text)
    for outcome in (Outcome.FAIL, Outcome.ERROR):
        line = render_headline(
            dataclasses.replace(verdict, evidence=evidence, outcome=outcome, reason=text)
        )
        assert len(line.splitlines()) == 1
        assert all(character.isprintable() or character.isspace() for character in line)


def test_printable_keeps_ordinary_text() -> None:
    assert printable("Größe 猫 → ok") == "Größe 猫 → ok"
    assert printable("a\x1b[31m\nb\u202e\u2028\ud800") == r"a\x1b[31m\nb\u202e\u2028\ud800"


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome.FAIL, "gap 0.412 [0.368, 0.457] > 0.05 allowed"),
        (Outcome.PASS, "gap 0.412 [0.368, 0.457] <= 0.05 allowed"),
        (Outcome.INCONCLUSIVE, "gap 0.412 [0.368, 0.457] does not decide 0.05 allowed"),
    ],
)
def test_a_highest_accepted_value_is_allowed_not_required(outcome: Outcome, expected: str) -> None:
    assert describe_condition(dataclasses.replace(ILLUSION, outcome=outcome)) == expected


def test_the_table_says_which_side_is_accepted() -> None:
    verdict = dataclasses.replace(verdict_of(ILLUSION), direction="at-most")
    assert "<= 0.05" in render_table([verdict])
    assert ">= 0.50" in render_table([verdict_of(FAILED)])


def test_the_reason_says_on_which_side_a_measurement_lies() -> None:
    reasons = [settled((it,), failure=None, undecided=0)[1] for it in (ILLUSION, FAILED)]
    assert reasons == ["gap is above its threshold", "robust_accuracy is below its threshold"]
