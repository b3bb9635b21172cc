from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from fgmf.preflight.labels import (
    class_indices,
    observe_accuracy,
    observe_label_range,
    observe_labels,
)

if TYPE_CHECKING:
    from fgmf.preflight.policy import Observation


def found(labels: torch.Tensor, image_count: int | None = None) -> dict[str, Observation]:
    count = labels.shape[0] if image_count is None else image_count
    return {o.name: o for o in observe_labels(labels, image_count=count)}


def outputs_for(predictions: torch.Tensor, classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(predictions, classes).float()


CLASSES = torch.tensor([0, 1, 2, 1])


def test_class_indices_raise_nothing() -> None:
    assert found(CLASSES) == {}


@pytest.mark.parametrize(
    "labels", [CLASSES.int(), CLASSES.to(torch.uint8), CLASSES.float(), CLASSES.unsqueeze(1)]
)
def test_what_can_be_read_as_class_indices_is_read_and_noted(labels: torch.Tensor) -> None:
    seen = found(labels)
    assert {name: o.severity for name, o in seen.items()} == {"labels-dtype": "note"}
    indices = class_indices(labels)
    assert indices is not None
    assert torch.equal(indices, CLASSES)


@pytest.mark.parametrize(
    "labels",
    [
        torch.tensor([0.0, 1.5]),
        torch.tensor([0.0, float("nan")]),
        torch.zeros(3, 2, 2),
        torch.zeros(3, dtype=torch.complex64),
    ],
)
def test_what_cannot_be_read_is_an_error(labels: torch.Tensor) -> None:
    assert class_indices(labels) is None
    assert found(labels)["labels-dtype"].severity == "error"


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.bool])
def test_one_hot_labels_are_told_to_argmax(dtype: torch.dtype) -> None:
    seen = found(torch.eye(4).to(dtype))["labels-one-hot"]
    assert seen.severity == "error"
    assert "argmax" in seen.fix


@pytest.mark.parametrize(
    "labels",
    [torch.tensor([[1, 0, 1], [0, 1, 0]]), torch.zeros(2, 3), torch.tensor([[0.3, 0.7]])],
)
def test_multi_label_and_soft_labels_are_refused(labels: torch.Tensor) -> None:
    seen = found(labels)["labels-multi-label"]
    assert seen.severity == "error"
    assert "not supported" in seen.fix


def test_a_label_short_is_an_error() -> None:
    assert found(CLASSES, image_count=5)["labels-image-count"].severity == "error"


def test_no_labels_at_all_are_an_error() -> None:
    assert set(found(torch.zeros(0, dtype=torch.int64), image_count=5)) == {"labels-image-count"}


def test_a_single_class_is_a_warning() -> None:
    assert found(torch.full((9,), 3))["single-class-data"].severity == "warning"


def test_labels_among_the_classes_raise_nothing() -> None:
    assert list(observe_label_range(CLASSES, class_count=3)) == []


def test_labels_out_of_range_say_which_came() -> None:
    (seen,) = observe_label_range(torch.tensor([0, 7]), class_count=3)
    assert (seen.name, seen.severity) == ("labels-out-of-range", "error")
    assert "0..7" in seen.message
    (negative,) = observe_label_range(torch.tensor([-1, 1]), class_count=3)
    assert negative.evidence["lowest"] == -1


def test_labels_that_count_from_one_are_recognised() -> None:
    (seen,) = observe_label_range(torch.tensor([1, 2, 3]), class_count=3)
    assert "subtract 1" in seen.fix


def test_a_guessing_model_is_at_chance() -> None:
    labels = torch.arange(60) % 10
    guesses = (labels * 7 + torch.arange(60) // 10) % 10
    (seen,) = observe_accuracy(outputs_for(guesses, 10), labels)
    assert (seen.name, seen.severity) == ("clean-accuracy-at-chance", "error")


def test_always_naming_the_most_frequent_class_is_at_chance() -> None:
    labels = torch.tensor([0] * 54 + [1] * 6)
    (seen,) = observe_accuracy(outputs_for(torch.zeros(60, dtype=torch.int64), 2), labels)
    assert seen.evidence["chance"] == pytest.approx(0.9)


@pytest.mark.parametrize("right", [25, 40, 60])
def test_a_model_better_than_guessing_is_not(right: int) -> None:
    labels = torch.arange(60) % 10
    predictions = torch.where(torch.arange(60) < right, labels, (labels + 1) % 10)
    assert list(observe_accuracy(outputs_for(predictions, 10), labels)) == []


def test_good_models_of_rare_classes_and_of_few_images_are_not_at_chance() -> None:
    rare = torch.tensor([0] * 63 + [1])
    assert list(observe_accuracy(outputs_for(rare, 2), rare)) == []
    few = torch.tensor([0, 1, 0, 1])
    assert list(observe_accuracy(outputs_for(few, 2), few)) == []
    single = torch.full((20,), 2)
    assert list(observe_accuracy(outputs_for(single, 3), single)) == []


def test_few_wrong_images_are_only_a_warning() -> None:
    labels = torch.tensor([0, 1, 2])
    (seen,) = observe_accuracy(outputs_for((labels + 1) % 3, 3), labels)
    assert seen.severity == "warning"
