"""Answers that change later, or right beside the images; and counter-attacks that break down."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_models import LinearModel, keys_of, make_images
from torch import nn

from fgmf.classifier import Classifier
from fgmf.gradient_masking.constancy import Revisits, probe_beside
from fgmf.gradient_masking.examination import measure_gradient_masking
from fgmf.gradient_masking.judge import breakdown, judge_masking
from fgmf.gradient_masking.one_step import probe_turning
from fgmf.gradient_masking.values import CounterAttack, MaskingMeasurement, MaskingPlan
from fgmf.seeding import image_generator
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.gradient_masking.examined import Examined

    Making = Callable[..., Examined]


class Changing(nn.Module):
    """Another model answers from a call on; the count is kept where no snapshot looks."""

    def __init__(self, calls: list[int], after: int) -> None:
        super().__init__()
        self.early, self.late = LinearModel(3), LinearModel(3, seed=1)
        self._count, self.after = lambda: calls.append(1) or len(calls), after

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        chosen = self.early if self._count() <= self.after else self.late
        logits: torch.Tensor = chosen(images)
        return logits


class Recognising(nn.Module):
    """Known images get one network, all others another one."""

    def __init__(self, known: torch.Tensor) -> None:
        super().__init__()
        self.own, self.decoy, self.known = LinearModel(3), LinearModel(3, seed=1), known

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        flat, known = images.flatten(1), self.known.flatten(1)
        same = (flat[:, None] == known[None]).all(dim=2).any(dim=1)
        logits: torch.Tensor = torch.where(same[:, None], self.own(images), self.decoy(images))
        return logits


class Rounding(nn.Module):
    """Few levels: rough everywhere, and at the images no more than beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.network = LinearModel(3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network((images * 500).round() / 500)
        return logits


@pytest.mark.parametrize(("after", "stands"), [(4, True), (1000, False)])
def test_a_later_answer_that_differs_is_seen(examined: Making, after: int, *, stands: bool) -> None:
    subject = examined(Changing([], after))
    with subject.classifier.guard():
        before = subject.passes
        revisits = Revisits(subject)
        for _ in range(5):
            revisits.ask()
        (symptom,) = revisits.symptoms()
        assert symptom.passes == subject.passes - before
    assert symptom.stands is stands
    assert symptom.alarming
    assert symptom.mechanisms == ("stateful",)


def test_of_a_model_that_draws_nothing_is_said(examined: Making) -> None:
    subject = examined(random=True)
    with subject.classifier.guard():
        revisits = Revisits(subject)
        revisits.ask()
    assert revisits.symptoms() == ()


@pytest.mark.parametrize(
    ("kind", "share"), [("recognising", 1.0), ("linear", 0.0), ("rounding", 0.0)]
)
def test_images_that_are_recognised_stand_apart(examined: Making, kind: str, share: float) -> None:
    models = {"recognising": Recognising(make_images(32, margin=0.1)), "rounding": Rounding()}
    subject = examined(models.get(kind))
    with subject.classifier.guard():
        before = subject.passes
        symptom = probe_beside(subject)
        assert symptom.passes == subject.passes - before
    assert symptom.value == share
    assert symptom.stands is (share > 0)
    assert symptom.alarming


def test_a_margin_that_bends_from_the_first_on_is_not_turned_away(examined: Making) -> None:
    """The step ends where the gradient is the opposite, in both cases."""

    class Bowl(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            phase = torch.pi * images.flatten(1).sum(dim=1) / (0.01 * 64)
            return torch.stack([phase.cos(), -phase.cos()], dim=1)

    subject = examined(Bowl(), epsilon=0.01)
    with subject.classifier.guard():
        from fgmf.gradient_masking.naive import ONE_STEP, climb

        ends = climb(subject, ONE_STEP).points
        stands = [
            probe_turning(subject, ends, left=0.6, lost=0.5, bend=bend).stands
            for bend in (None, 0.1, 0.31)
        ]
    assert stands == [True, True, False]


def _record(name: str, failure: str = "") -> CounterAttack:
    return CounterAttack(
        name=name, mechanisms=(), images=8, broken=0, scouting=True, failure=failure
    )


MEASURED = MaskingMeasurement(
    labels=torch.zeros(200, dtype=torch.long),
    clean_right=torch.ones(200, dtype=torch.float64),
    naive=(),
    right=torch.ones(200, dtype=torch.float64),
    attacked=torch.ones(200, dtype=torch.bool),
    symptoms=(),
    counterattacks=(),
    examples=(),
    random=False,
    complete=True,
)


@pytest.mark.parametrize(
    ("records", "finding"),
    [
        ((_record("margin in float64"), _record("Square")), "clean"),
        ((_record("margin in float64"), _record("logits of 3", "no")), "clean"),
        ((_record("margin in float64", "no"), _record("margin")), "clean"),
        ((_record("margin in float64", "no"), _record("Square")), "undecided"),
        ((_record("Square", "no"),), "undecided"),
    ],
)
def test_attacks_that_broke_down_are_no_all_clear(
    records: tuple[CounterAttack, ...], finding: str
) -> None:
    measurement = replace(MEASURED, counterattacks=records)
    assert judge_masking(measurement, min_gap=0.05, confidence=0.95).finding == finding
    assert bool(breakdown(measurement)) is (finding == "undecided")


def _measured(model: nn.Module, labels: torch.Tensor, images: torch.Tensor, scouts: int) -> Any:
    return measure_gradient_masking(
        Classifier(model, bounds=(0, 1)),
        images,
        labels,
        MaskingPlan(threat=ThreatModel(norm="linf", epsilon=0.05), scouts=scouts, seed=3),
        keys=keys_of(images),
    )


def test_nothing_is_known_where_no_scout_is_right() -> None:
    """Right on one image of 160, which is no scout."""
    model, images = LinearModel(3), make_images(160, margin=0.1)
    with torch.no_grad():
        labels = (model(images).argmax(dim=1) + 1) % 3
    scouts = set(image_generator(3, "scouts").permutation(160)[:64].tolist())
    spared = next(at for at in range(160) if at not in scouts)
    labels[spared] = (labels[spared] + 2) % 3
    assert not _measured(model, labels, images, 64).complete
