"""Every image under every corruption: what counts as good, and what is never evidence."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from tiny_models import LinearModel, classify, keys_of, make_images

from fgmf.corruption_accuracy import (
    CorruptionMeasurement,
    CorruptionPlan,
    CorruptionThresholds,
    judge_corruptions,
    measure_corruptions,
    plan_cells,
)
from fgmf.corruptions import SEVERITIES, corrupt
from fgmf.errors import InvalidInput, ModelStateChanged, NonFiniteOutput
from fgmf.verdict import Outcome

NAMES = ("gaussian-noise", "brightness", "translation")


def measured(
    model: Any,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    names: Any = NAMES,
    severities: Any = (1, 5),
    batch_size: int = 16,
    **options: Any,
) -> CorruptionMeasurement:
    plan = CorruptionPlan(cells=plan_cells(names, severities), bounds=(0.0, 1.0), seed=3, **options)
    subject = classify(model, batch_size=batch_size)
    return measure_corruptions(subject, images, labels, plan, keys=keys_of(images))


def known(count: int = 40) -> tuple[LinearModel, torch.Tensor, torch.Tensor]:
    """A linear model, images, and labels of which the first three are wrong."""
    model, images = LinearModel(3), make_images(count)
    labels = model(images).argmax(dim=1)
    labels[:3] = (labels[:3] + 1) % 3
    return model, images, labels


def test_every_cell_is_what_the_model_says_of_the_corrupted_image() -> None:
    model, images, labels = known()
    result = measured(model, images, labels)
    assert [cell.label for cell in result.cells][:3] == [
        "gaussian-noise 1",
        "gaussian-noise 5",
        "brightness 1",
    ]
    for row, cell in enumerate(result.cells):
        changed = corrupt(
            images, cell.corruption, severity=cell.severity, seed=3, keys=keys_of(images)
        )
        assert torch.equal(result.right[row], model(changed).argmax(dim=1) == labels)
    clean = model(images).argmax(dim=1) == labels
    assert torch.equal(result.good, clean & result.right.all(dim=0))
    assert 0 < int(result.good.sum()) < 37
    assert result.certain
    assert result.complete
    assert result.cost.forward_passes == 40 * (len(result.cells) + 2) + result.verified


def test_examples_break_the_model_and_are_spread_over_the_images() -> None:
    model, images, labels = known()
    whole = measured(model, images, labels)
    assert whole.verified == int((whole.broken & whole.clean_correct).sum()) > 5
    assert whole.unverified == ()
    few = measured(model, images, labels, example_limit=4)
    assert [e.position for e in few.examples] == [
        whole.examples[at * whole.verified // 4].position for at in range(4)
    ]
    for example in whole.examples:
        assert int(model(example.image[None]).argmax()) == example.predicted
        assert example.predicted != int(labels[example.position])
        assert example.position > 2
        first = int((~whole.right[:, example.position]).nonzero()[0])
        assert example.attack == whole.cells[first].label


def test_batch_size_and_order_change_nothing() -> None:
    model, images, labels = known()
    expected = measured(model, images, labels)
    for batch_size in (1, 7, 100):
        other = measured(model, images, labels, batch_size=batch_size)
        assert torch.equal(other.right, expected.right)
        assert [e.attack for e in other.examples] == [e.attack for e in expected.examples]
    back = measured(model, images.flip(0), labels.flip(0))
    assert torch.equal(back.right.flip(1), expected.right)


def test_time_that_ran_out_leaves_images_undecided() -> None:
    model, images, labels = known()
    result = measured(model, images, labels, deadline=time.monotonic())
    assert not result.measured.any()
    assert torch.equal(result.undecided, result.clean_correct)
    assert not result.certain
    for threshold in (0.0, 0.5):
        thresholds = CorruptionThresholds(
            corruption_accuracy=threshold, mean_corruption_accuracy=threshold
        )
        worst, mean = judge_corruptions(result, thresholds)
        assert {worst.outcome, mean.outcome} == {Outcome.INCONCLUSIVE}
        assert worst.measured is mean.measured is None


class Falters(torch.nn.Module):
    """Answers with `answer` where an image is nearly white."""

    def __init__(self, model: torch.nn.Module, answer: float | None) -> None:
        super().__init__()
        self.model, self.answer = model, answer

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        white = images.flatten(1).amin(dim=1) > 0.25
        if self.answer is None and bool(white.any()):
            raise RuntimeError("too bright")
        logits = self.model(images)
        return logits if self.answer is None else logits.masked_fill(white[:, None], self.answer)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (torch.nan, "the model returned NaN or infinite logits"),
        (torch.inf, "the model returned NaN or infinite logits"),
        (None, "the model raised RuntimeError: too bright"),
    ],
)
def test_an_image_that_the_model_fails_on_is_not_good(answer: float | None, why: str) -> None:
    model, images = LinearModel(3), make_images(20)
    images[4:6] = images[4:6] * 0.2 + 0.15  # 0.15 and more: white once 0.3 is added
    labels = model(images).argmax(dim=1)
    result = measured(Falters(model, answer), images, labels, names=("brightness",))
    expected = {at for at in range(20) if float(images[at].min()) + 0.3 > 0.25}
    assert set(result.failures) == expected >= {4, 5}
    assert result.failures[4] == ("brightness 5", why)
    assert not result.measured[1, 4]
    assert not result.measured[1, 5]
    assert not (result.failed & result.broken).any()
    assert not result.complete


def test_a_model_that_moves_is_found_out() -> None:
    model, images, labels = known()
    calls = []

    def drifts(batch: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return model(batch) + 0.01 * len(calls) * torch.arange(3)

    with pytest.raises(ModelStateChanged, match="before and after the corruptions"):
        measured(drifts, images, labels)
    measured(drifts, images, labels, expect_steady=False)


def test_an_image_that_recovers_in_a_fresh_pass_still_counts_as_broken() -> None:
    """Its second look is in a batch of another size, on which this model depends."""
    model, images, labels = known()
    labels = model(images).argmax(dim=1)

    def depends(batch: torch.Tensor) -> torch.Tensor:
        bright = batch.flatten(1).amin(dim=1) > 0.25
        wrong = bright & (len(batch) == 20)
        return torch.where(wrong[:, None], -1.0, 1.0) * model(batch)

    result = measured(
        depends, images[:20], labels[:20], names=("brightness",), severities=(5,), batch_size=20
    )
    assert len(result.unverified) >= 5
    assert not result.good[list(result.unverified)].any()
    assert set(result.unverified).isdisjoint(example.position for example in result.examples)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"images": torch.rand(6, 64)}, InvalidInput, "pixels with neighbours"),
        ({"labels": torch.zeros(5, dtype=torch.int64)}, InvalidInput, "6 images, 5 labels"),
        ({"names": ()}, InvalidInput, "got 0 corruptions"),
        ({"model": lambda x: torch.full((len(x), 3), torch.nan)}, NonFiniteOutput, "6 of 6"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes: Any, error: Any, message: str) -> None:
    values: dict[str, Any] = {
        "model": LinearModel(3),
        "images": torch.rand(6, 1, 8, 8),
        "labels": torch.zeros(6, dtype=torch.int64),
    } | changes
    with pytest.raises(error, match=message):
        measured(values.pop("model"), values.pop("images"), values.pop("labels"), **values)


def test_accuracy_falls_with_severity_on_digits(
    standard_digits_model: torch.nn.Module, digits_test: Any
) -> None:
    names = ("impulse-noise", "gaussian-blur", "contrast", "rotation", "scale")
    images, labels = digits_test.images[:200].float(), digits_test.labels[:200]
    result = measured(
        standard_digits_model, images, labels, names=names, severities=SEVERITIES, batch_size=100
    )
    shares = result.right.double().mean(dim=1).reshape(len(names), 5)
    means = shares.mean(dim=0)
    assert bool((means.diff() < 0).all()), means
    assert bool((shares[:, 0] > shares[:, 4]).all()), shares
