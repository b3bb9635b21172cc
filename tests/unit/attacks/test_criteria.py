from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fgmf.attacks.criteria import Criterion
from fgmf.errors import InvalidInput

LOGITS = torch.tensor([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0], [2.0, 1.0, 3.0], [1.0, 2.0, 3.0]])
LABELS = torch.tensor([0, 0, 1, 1])


def slow(kind: str, row: list[float], label: int, target: int, k: int) -> tuple[bool, bool]:
    """(broken, correct) of one image, by the words of the definition."""
    if not all(abs(z) < float("inf") for z in row):
        return False, False
    order = sorted(range(len(row)), key=lambda j: -row[j])
    correct = label in order[: k if kind == "top-k" else 1]
    if kind == "misclassification":
        return order[0] != label, correct
    if kind == "targeted":
        return order[0] == target, correct
    return label not in order[:k], correct


@st.composite
def judged(draw: st.DrawFn) -> tuple[str, list[list[float]], list[int], list[int], int]:
    classes, count = draw(st.integers(2, 5)), draw(st.integers(1, 4))
    finite = st.integers(-50, 50).map(float)
    value = st.one_of(finite, finite, finite, st.sampled_from([float("nan"), float("inf")]))
    rows = [
        draw(st.lists(value, min_size=classes, max_size=classes, unique=True)) for _ in range(count)
    ]
    index = st.lists(st.integers(0, classes - 1), min_size=count, max_size=count)
    kind = draw(st.sampled_from(["misclassification", "targeted", "top-k"]))
    return kind, rows, draw(index), draw(index), draw(st.integers(1, classes - 1))


@given(case=judged(), copies=st.integers(1, 3))
def test_images_are_judged_by_the_words_of_the_definition(case: Any, copies: int) -> None:
    kind, rows, labels, targets, k = case
    criterion = Criterion(
        kind=kind,
        labels=torch.tensor(labels),
        targets=torch.tensor(targets) if kind == "targeted" else None,
        top_k=k if kind == "top-k" else 1,
    )
    expected = [slow(kind, *one, k) for one in zip(rows, labels, targets, strict=True)]
    logits = torch.tensor(rows)
    assert criterion.correct(logits).tolist() == [correct for _, correct in expected]
    broken = [broken for broken, _ in expected]
    assert criterion.broken(logits).tolist() == broken
    # Several copies of all images, one after the other, as HopSkipJump asks about them.
    assert criterion.broken(logits.repeat(copies, 1)).tolist() == broken * copies


@given(case=judged(), copies=st.integers(1, 3))
def test_top_k_is_misclassification_among_the_other_rivals(case: Any, copies: int) -> None:
    _, rows, labels, _, k = case
    criterion = Criterion(kind="top-k", labels=torch.tensor(labels), top_k=k)
    logits = torch.tensor(rows).repeat(copies, 1).requires_grad_()
    lowered = criterion.lower_rivals(logits)
    finite = logits.isfinite().all(dim=1)
    seen = criterion.as_misclassification().broken(lowered)
    assert torch.equal(seen[finite], criterion.broken(logits)[finite])
    lowered.sum().backward()
    assert logits.grad is not None
    assert (logits.grad == 0).sum(dim=1).tolist() == [k - 1] * len(logits)


def test_other_rules_are_left_as_they_are() -> None:
    for options in ({"kind": "misclassification"}, {"kind": "targeted", "targets": LABELS}):
        criterion = Criterion(labels=LABELS, **options)  # type: ignore[arg-type]
        assert criterion.as_misclassification() is criterion
        assert criterion.lower_rivals(LOGITS) is LOGITS


@pytest.mark.parametrize(
    ("options", "broken", "correct"),
    [
        ({"kind": "misclassification"}, [False, True, True, True], [True, False, False, False]),
        (
            {"kind": "targeted", "targets": torch.tensor([0, 1, 1, 2])},
            [True, True, False, True],
            [True, False, False, False],
        ),
        ({"kind": "top-k", "top_k": 1}, [False, True, True, True], [True, False, False, False]),
        ({"kind": "top-k", "top_k": 2}, [False, True, True, False], [True, False, False, True]),
    ],
)
def test_the_rules(options: Any, broken: list[bool], correct: list[bool]) -> None:
    criterion = Criterion(labels=LABELS, **options)
    assert criterion.broken(LOGITS).tolist() == broken
    assert criterion.correct(LOGITS).tolist() == correct


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "options",
    [
        {"kind": "misclassification"},
        {"kind": "targeted", "targets": LABELS},
        {"kind": "top-k", "top_k": 2},
    ],
)
def test_an_answer_that_is_no_number_decides_nothing(options: Any, bad: float) -> None:
    criterion = Criterion(labels=LABELS, **options)
    for place in range(3):
        logits = LOGITS.clone()
        logits[:, place] = bad
        assert not bool(criterion.broken(logits).any())
        assert not bool(criterion.correct(logits).any())


@pytest.mark.parametrize("rows", [torch.tensor([2, 0]), slice(1, 3), torch.tensor([3])])
def test_a_part_is_judged_like_the_whole(rows: Any) -> None:
    for options in (
        {"kind": "misclassification"},
        {"kind": "targeted", "targets": torch.tensor([0, 1, 1, 2])},
        {"kind": "top-k", "top_k": 2},
    ):
        criterion = Criterion(labels=LABELS, **options)  # type: ignore[arg-type]
        part = criterion.of(rows)
        assert torch.equal(part.broken(LOGITS[rows]), criterion.broken(LOGITS)[rows])
        assert torch.equal(part.correct(LOGITS[rows]), criterion.correct(LOGITS)[rows])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "targeted"}, "targets for a targeted criterion alone"),
        ({"kind": "misclassification", "targets": LABELS}, "got misclassification"),
        ({"kind": "targeted", "targets": LABELS[:2]}, r"targets \(2,\) for \(4,\) labels"),
        ({"kind": "top-k", "top_k": 0}, "top_k >= 1, got 0"),
    ],
)
def test_a_rule_that_is_incomplete_is_refused(options: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        Criterion(labels=LABELS, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "targeted", "targets": LABELS + 2}, "targets below .* got 3 of 3"),
        ({"kind": "top-k", "top_k": 3}, "top_k below .* got 3 of 3"),
        ({"kind": "top-k", "top_k": 9}, "top_k below .* got 9 of 3"),
    ],
)
def test_a_rule_that_no_image_could_break_is_refused(options: Any, words: str) -> None:
    """Nothing would ever count as broken: every image would pass for robust."""
    criterion = Criterion(labels=LABELS, **options)
    with pytest.raises(InvalidInput, match=words):
        criterion.broken(LOGITS)
    with pytest.raises(InvalidInput, match=words):
        criterion.correct(LOGITS)
