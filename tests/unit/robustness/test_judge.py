from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fgmf.robustness import RobustnessMeasurement, Thresholds, judge_robustness
from fgmf.sequential import ConfidenceSequence
from fgmf.statistics import judge_share
from fgmf.verdict import Condition, Cost, Outcome

PASS, FAIL, OPEN = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE


def flags(text: str, letters: str) -> torch.Tensor:
    return torch.tensor([letter in letters for letter in text], dtype=torch.bool)


def measured(text: str, labels: list[int] | None = None) -> RobustnessMeasurement:
    """One letter an image: r(obust), b(roken), w(rong when clean), u(ndecided), f(ailed)."""
    label = torch.tensor(labels or [0] * len(text))
    return RobustnessMeasurement(
        labels=label,
        predicted=label,
        clean_correct=~flags(text, "w"),
        broken=flags(text, "bw"),
        undecided=flags(text, "u"),
        failed=flags(text, "f"),
        records=(),
        examples=(),
        verified=text.count("b"),
        cost=Cost(),
    )


def judged(text: str, threshold: float, **options: Any) -> tuple[Condition, ...]:
    labels = options.pop("labels", None)
    return judge_robustness(
        measured(text, labels), Thresholds(robust_accuracy=threshold, **options)
    )


@pytest.mark.parametrize(
    ("text", "threshold", "outcome"),
    [
        ("r" * 100, 0.96, PASS),  # 1 - 0.025 ** (1 / 100) = 0.0362 below one
        ("r" * 100, 0.97, OPEN),
        ("b" * 100, 0.03, OPEN),
        ("b" * 100, 0.04, FAIL),
        ("r" * 50 + "b" * 50, 0.5, OPEN),
        ("r" * 50 + "w" * 50, 0.61, FAIL),
        ("r" * 50 + "b" * 50, 0.39, PASS),
    ],
)
def test_the_interval_decides(text: str, threshold: float, outcome: Outcome) -> None:
    (condition,) = judged(text, threshold)
    assert condition.quantity == "robust_accuracy"
    assert condition.outcome is outcome
    assert condition.measured == text.count("r") / len(text)


@pytest.mark.parametrize("letter", ["u", "f"])
def test_what_is_unknown_is_never_a_pass(letter: str) -> None:
    (condition,) = judged("r" * 999 + letter, 0.0)
    assert condition.outcome is OPEN
    assert condition.measured is None
    assert condition.interval is not None
    assert condition.interval.lower < 0.999


@pytest.mark.parametrize("letter", ["u", "f"])
def test_too_few_in_any_case_is_a_fail(letter: str) -> None:
    (condition,) = judged("b" * 90 + letter * 10, 0.5)
    assert condition.outcome is FAIL
    assert condition.measured == 0.1  # the best case, and even that is too few


@st.composite
def texts(draw: st.DrawFn) -> str:
    known = draw(st.text("rbw", min_size=1, max_size=30))
    return known + draw(st.text("uf", max_size=5))


@given(
    text=texts(),
    threshold=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0]),
    population=st.sampled_from(["distribution", "dataset"]),
    extra=st.integers(0, 20),
)
def test_a_verdict_holds_however_the_unknown_images_turn_out(
    text: str, threshold: float, population: str, extra: int
) -> None:
    """Slowly: every way to decide the unknown images, each judged for itself."""
    (condition,) = judged(text, threshold, population=population, dataset_size=len(text) + extra)
    unknown = sum(letter in "uf" for letter in text)
    ways = [
        judge_share(
            "robust_accuracy",
            text.count("r") + sum(way),
            len(text),
            threshold=threshold,
            confidence=0.95,
            population_size=len(text) + extra if population == "dataset" else None,
        )
        for way in product([0, 1], repeat=unknown)
    ]
    outcomes = {way.outcome for way in ways}
    if condition.outcome is FAIL:
        assert outcomes == {FAIL}
    if unknown:
        assert condition.outcome is (FAIL if outcomes == {FAIL} else OPEN)
    else:
        assert condition == ways[0]
    intervals = [way.interval for way in ways if way.interval is not None]
    assert condition.interval is not None
    if condition.outcome is not FAIL:
        assert condition.interval.lower == min(interval.lower for interval in intervals)
        assert condition.interval.upper == max(interval.upper for interval in intervals)


def test_a_whole_dataset_leaves_no_doubt() -> None:
    (condition,) = judged("rrb", 2 / 3, population="dataset", dataset_size=3)
    assert condition.outcome is PASS
    assert condition.interval is not None
    assert condition.interval.lower == condition.interval.upper == 2 / 3
    (condition,) = judged("rrb", 0.67, population="dataset", dataset_size=3)
    assert condition.outcome is FAIL
    (condition,) = judged("rrb", 0.67, population="dataset", dataset_size=300)
    assert condition.outcome is OPEN


def test_clean_accuracy_has_its_own_threshold() -> None:
    """An undecided image is right or wrong all the same."""
    text = "r" * 60 + "b" * 20 + "u" * 20
    robust, clean = judged(text, 0.0, clean_accuracy=0.95)
    assert (robust.outcome, clean.outcome) == (OPEN, PASS)
    assert (clean.quantity, clean.measured) == ("clean_accuracy", 1.0)
    _, clean = judged("r" * 60 + "w" * 40, 0.0, clean_accuracy=0.9)
    assert clean.outcome is FAIL


def test_the_worst_class_decides() -> None:
    text = "r" * 100 + "r" * 40 + "b" * 60
    labels = [3] * 100 + [7] * 100
    sizes = {3: 100, 7: 100}
    conditions = judged(
        text, 0.5, worst_class_robust_accuracy=0.6, labels=labels, class_sizes=sizes
    )
    worst = conditions[-1]
    assert (worst.quantity, worst.subject) == ("worst_class_robust_accuracy", "class 7")
    assert worst.outcome is FAIL
    assert worst.measured == 0.4
    assert worst.interval is not None
    assert worst.interval.confidence == pytest.approx(1 - 0.05 / 2)  # Bonferroni
    ok = judged(text, 0.5, worst_class_robust_accuracy=0.2, labels=labels, class_sizes=sizes)
    assert ok[-1].outcome is PASS
    assert ok[-1].subject == "class 7"  # the one that is nearest to failing


@pytest.mark.parametrize(("text", "outcome"), [("r" * 50 + "b" * 40 + "u" * 10, OPEN), ("b", FAIL)])
def test_a_class_with_unknown_images_does_not_pass(text: str, outcome: Outcome) -> None:
    text = "r" * 100 + text.ljust(100, text[-1])
    labels = [0] * 100 + [1] * 100
    worst = judged(
        text, 0.0, worst_class_robust_accuracy=0.3, labels=labels, class_sizes={0: 100, 1: 100}
    )[-1]
    assert worst.outcome is outcome
    assert worst.subject == "class 1"


def test_a_class_of_which_no_image_was_drawn_is_no_evidence() -> None:
    worst = judged("r" * 100, 0.5, worst_class_robust_accuracy=0.1, class_sizes={0: 100, 1: 3})[-1]
    assert worst.outcome is OPEN
    assert worst.subject == "class 1"
    assert worst.measured is None
    assert worst.interval is not None
    assert (worst.interval.lower, worst.interval.upper) == (0.0, 1.0)


def test_each_class_of_a_dataset_has_its_own_size() -> None:
    """One of 2 drawn of 2 is an exact half; the same of 200 is hardly anything."""
    text, labels = "rrrb", [0, 0, 1, 1]
    options: dict[str, Any] = {"population": "dataset", "dataset_size": 202, "labels": labels}
    exact = judged(text, 0.0, worst_class_robust_accuracy=0.5, class_sizes={0: 2, 1: 2}, **options)[
        -1
    ]
    assert exact.outcome is PASS
    vague = judged(
        text, 0.0, worst_class_robust_accuracy=0.5, class_sizes={0: 2, 1: 200}, **options
    )[-1]
    assert vague.outcome is OPEN


def test_a_failing_class_is_named_before_an_open_one() -> None:
    text = "b" * 100 + "u" * 100
    labels = [0] * 100 + [1] * 100
    worst = judged(
        text, 0.0, worst_class_robust_accuracy=0.5, labels=labels, class_sizes={0: 100, 1: 100}
    )[-1]
    assert (worst.outcome, worst.subject) == (FAIL, "class 0")


def test_certainty_is_that_of_every_image() -> None:
    assert measured("rbw").certain
    assert not measured("rbu").certain
    assert not measured("rbf").certain
    assert measured("rbwuf").robust.tolist() == [True, False, False, True, True]


@given(st.text("rbwu", min_size=1, max_size=40), st.sampled_from([0.2, 0.5, 0.9]))
def test_in_order_every_look_agrees_with_the_sequence(text: str, threshold: float) -> None:
    """FAIL holds even if all undecided images are robust, PASS even if none is."""
    condition = judged(text, threshold, horizon=40)[0]

    def alone(letters: str) -> Outcome:
        sequence = ConfidenceSequence(
            population_size=None, confidence=0.95, threshold=threshold, horizon=40
        )
        sequence.update([letter in letters for letter in text])
        return sequence.decide(threshold)

    if condition.outcome is FAIL:
        assert alone("ru") is FAIL
    elif condition.outcome is PASS:
        assert alone("ru") is alone("r") is PASS
        assert "u" not in text
    assert condition.measured == (
        None
        if "u" in text and alone("ru") is not FAIL
        else (text.count("r") + text.count("u")) / len(text)
    )


def test_in_order_the_interval_is_wider_than_at_once_and_exact_at_the_end_of_a_set() -> None:
    text = "rrb" * 30
    once = judged(text, 0.5)[0].interval
    ordered = judged(text, 0.5, horizon=200)[0].interval
    assert once is not None
    assert ordered is not None
    assert ordered.lower < once.lower
    assert ordered.upper > once.upper
    whole = judged(text, 0.5, horizon=90, population="dataset", dataset_size=90)[0]
    assert whole.interval is not None
    assert whole.interval.lower == whole.interval.upper == whole.measured
    assert whole.outcome is PASS


def test_in_order_a_class_is_judged_by_its_own_images() -> None:
    labels = [0, 1] * 40
    text = "rb" * 40
    sizes = {0: 100, 1: 100}
    conditions = judged(
        text,
        0.1,
        labels=labels,
        worst_class_robust_accuracy=0.5,
        class_sizes=sizes,
        horizon=200,
    )
    assert conditions[-1].outcome is FAIL
    assert conditions[-1].subject == "class 1"
