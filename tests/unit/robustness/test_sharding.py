"""Several processes, one measurement: here threads take their part, and meet at a barrier."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from shared_work import Member, facts, together
from tiny_models import CurvedModel, LinearModel, classify, keys_of, make_images, rule

from fgmf.attacks.plans import plan_attacks
from fgmf.errors import ProcessLost
from fgmf.robustness import (
    RobustnessMeasurement,
    RobustnessPlan,
    measure_robustness,
    measure_shared,
    measure_until_enough,
)
from fgmf.threat import ThreatModel

IMAGES = make_images(70, margin=0.05)
LABELS = CurvedModel()(IMAGES).argmax(dim=1)
LABELS[::9] = (LABELS[::9] + 1) % 4
KEYS = keys_of(IMAGES)
PLAN = RobustnessPlan(
    threat=ThreatModel(norm="l2", epsilon=0.3),
    attacks=plan_attacks(
        [("fgsm", {}, None), ("pgd", {"steps": 6}, 2), ("hop-skip-jump", {"steps": 2}, None)],
        restarts=1,
    ),
    seed=5,
    example_limit=20,
)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_together_they_say_what_one_says(count: int) -> None:
    alone = measure_robustness(classify(CurvedModel()), IMAGES, rule(LABELS), PLAN, keys=KEYS)
    assert 0 < int(alone.broken.sum()) < len(IMAGES)

    def work(member: Member) -> RobustnessMeasurement:
        model = classify(CurvedModel(), batch_size=11)
        return measure_shared(model, IMAGES, rule(LABELS), PLAN, keys=KEYS, processes=member)

    results = together(count, work)
    for result in results:
        assert facts(result) == facts(alone)
    passes = sum(result.cost.backward_passes for result in results) / count
    assert passes == alone.cost.backward_passes


def test_together_they_stop_where_one_stops() -> None:
    def enough(known: RobustnessMeasurement) -> bool:
        return int(known.broken.sum()) >= 20

    def measured(member: Member | None) -> RobustnessMeasurement:
        return measure_until_enough(
            classify(CurvedModel()),
            IMAGES,
            rule(LABELS),
            PLAN,
            keys=KEYS,
            enough=enough,
            processes=member,
        )

    alone = measured(None)
    assert 0 < len(alone.labels) < len(IMAGES)
    for result in together(2, measured):
        assert facts(result) == facts(alone)


def test_one_that_runs_out_of_time_stops_all_and_leaves_its_images_undecided() -> None:
    def work(member: Member) -> RobustnessMeasurement:
        deadline = -1.0 if member.rank == 1 else None
        plan = replace(PLAN, deadline=deadline, enough=lambda known: False)
        return measure_shared(
            classify(CurvedModel()), IMAGES, rule(LABELS), plan, keys=KEYS, processes=member
        )

    first, second = together(2, work)
    assert facts(first) == facts(second)
    late = torch.arange(len(IMAGES)) % 2 == 1
    assert (first.undecided | first.broken)[late].all()
    assert first.undecided[late].any()


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("count", [2, 3])
def test_one_that_raises_ends_all(count: int, *, asked: bool) -> None:
    def work(member: Member) -> RobustnessMeasurement:
        broken = member.rank == 1
        plan = replace(PLAN, enough=(lambda known: False) if asked else None)
        labels = LABELS[:-1] if broken else LABELS
        return measure_shared(
            classify(CurvedModel()), IMAGES, rule(labels), plan, keys=KEYS, processes=member
        )

    results = together(count, work)
    assert "one label and key" in str(results[1])
    for rank in set(range(count)) - {1}:
        assert isinstance(results[rank], ProcessLost)
        assert "process 1 could not do its part" in str(results[rank])


@pytest.mark.parametrize("other", ["model", "labels", "callable", "scale"])
def test_another_model_or_other_labels_are_refused(other: str) -> None:
    def work(member: Member) -> RobustnessMeasurement:
        model: Any = CurvedModel(seed=member.rank if other != "labels" else 0)
        labels = LABELS.clone()
        if other == "scale":  # the same predictions from other weights
            model = LinearModel(scale=1.0 + member.rank)
        if other == "labels" and member.rank == 1:
            labels[3] = (labels[3] + 1) % 4
        if other == "callable":
            model = model.forward
        return measure_shared(
            classify(model), IMAGES, rule(labels), PLAN, keys=KEYS, processes=member
        )

    for result in together(2, work):
        assert isinstance(result, ProcessLost)
        assert "in every process, got others in process" in str(result)


def test_other_images_in_another_process_are_refused() -> None:
    def work(member: Member) -> RobustnessMeasurement:
        images = IMAGES.roll(member.rank, 0)
        labels = LABELS.roll(member.rank, 0)
        return measure_shared(
            classify(CurvedModel()),
            images,
            rule(labels),
            PLAN,
            keys=keys_of(images),
            processes=member,
        )

    for result in together(2, work):
        assert isinstance(result, ProcessLost)
        assert "expected the same gate, model, images and labels in every process" in str(result)
