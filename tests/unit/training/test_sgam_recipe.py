"""Lessons for the predictor of the mask, beside any recipe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from fgmf.errors import InvalidInput
from fgmf.sgam import SaliencyTeacher
from fgmf.training import (
    AmoRecipe,
    Engine,
    NFgsmRecipe,
    Schedule,
    SgamRecipe,
    StandardRecipe,
    TrainingRun,
    TrainingSettings,
    begin,
    train,
)
from tests.unit.training.trainings import first_digits, masked, small

ONE = Schedule(epochs=1, batch_size=32)


class TestSgam:
    def test_lessons_reach_the_predictor(self) -> None:
        """With a recipe that does not reach it: the mask is detached."""
        moved = {}
        for every in (1, 10**9):
            model = masked()
            model.layer.use_variant("detached")
            recipe = SgamRecipe(
                recipe=StandardRecipe(schedule=ONE), teacher=SaliencyTeacher(every=every)
            )
            before = model.layer.predictor.stem.weight.detach().clone()
            train(model, first_digits(128), recipe)
            moved[every] = float((model.layer.predictor.stem.weight.detach() - before).abs().max())
        assert moved[1] > 2 * moved[10**9] > 0  # the first update has a lesson in both

    @pytest.mark.parametrize("inner", [StandardRecipe(), AmoRecipe(epsilon=0.1)], ids=["a", "b"])
    def test_states_are_those_of_both(self, inner: Any) -> None:
        objective = begin(SgamRecipe(recipe=inner), 8, (1, 8, 8))
        samples = first_digits(8)
        for _ in range(3):
            objective.loss(
                masked(), samples.images, samples.labels, torch.arange(8), progress=0.5,
                draws=torch.Generator(),
            )  # fmt: skip
        state = objective.state_dict()
        other = begin(SgamRecipe(recipe=inner), 8, (1, 8, 8))
        other.load_state_dict(state)
        assert other.state_dict()["updates"] == 3
        with pytest.raises(InvalidInput, match="state"):
            begin(StandardRecipe(), 8, (1, 8, 8)).load_state_dict(state)

    def test_lessons_come_by_updates_and_not_by_parts(self) -> None:
        model, lessons = masked(), []
        model.register_saliency_mask_hook(
            lambda record: lessons.append(len(record.inputs)) if record.purpose == "teaching" else 0
        )
        recipe = SgamRecipe(
            recipe=replace(AmoRecipe(epsilon=0.15), schedule=ONE), teacher=SaliencyTeacher(every=3)
        )
        settings = TrainingSettings(engine=Engine(accumulate=2))
        TrainingRun(model, first_digits(32 * 4), recipe, settings).finish()
        assert lessons == [16] * 4  # both parts of the first and of the fourth update

    def test_a_model_without_the_layer(self) -> None:
        with pytest.raises(InvalidInput, match=r"Sgam\.wrap"):
            train(small(), first_digits(32), SgamRecipe(recipe=StandardRecipe(schedule=ONE)))

    def test_passes_and_schedule(self) -> None:
        recipe = SgamRecipe(recipe=NFgsmRecipe(epsilon=0.1, schedule=ONE))
        assert recipe.passes == (2 + 1 / 8, 2 + 1 / 8)
        assert recipe.schedule == ONE
        assert recipe.bounds == (0.0, 1.0)
