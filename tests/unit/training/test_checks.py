"""What a training says when a model, its images and its labels do not go together."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from unit.training.trainings import AMO, SCHEDULE, network, some

from fgmf.datasets import Samples
from fgmf.errors import InvalidInput, NonFiniteOutput
from fgmf.scorpio import QuadraticAscent, Scorpio
from fgmf.training import (
    AmoRecipe,
    CureRecipe,
    FgsmRsRecipe,
    GradAlignRecipe,
    GradientPenaltyRecipe,
    GuidedRecipe,
    LlrRecipe,
    NFgsmRecipe,
    PgdRecipe,
    Schedule,
    ScorpioRecipe,
    StandardRecipe,
    Teacher,
    TradesRecipe,
    train,
)

STANDARD = StandardRecipe(schedule=SCHEDULE)


class Puts(nn.Module):
    """Logits of 8 x 8 images, in a form of its own."""

    def __init__(self, form: Any, classes: int = 10) -> None:
        super().__init__()
        self.linear = nn.Linear(64, classes)
        self.form = form

    def forward(self, images: torch.Tensor) -> Any:
        return self.form(self.linear(images.flatten(1)))


@pytest.mark.parametrize(
    ("form", "got"),
    [
        (lambda logits: (logits,), "got tuple"),
        (lambda logits: {"logits": logits}, "got dict"),
        (lambda logits: logits[:, :, None, None], r"got Tensor of shape \(16, 10, 1, 1\)"),
        (lambda logits: logits.sum(), r"got Tensor of shape \(\)"),
    ],
    ids=["tuple", "dict", "maps", "scalar"],
)
@pytest.mark.parametrize("recipe", [STANDARD, AMO], ids=["standard", "amo"])
def test_what_is_no_logits(form: Any, got: str, recipe: Any) -> None:
    with pytest.raises(InvalidInput, match=rf"expected logits \(16, classes\).*Puts.*{got}"):
        train(Puts(form), some(), recipe)


def test_too_few_classes() -> None:
    with pytest.raises(InvalidInput, match="labels below 4, the number of logits, got 9"):
        train(Puts(lambda logits: logits, classes=4), some(), STANDARD, seed=2)


@pytest.mark.parametrize("kind", [torch.float64, torch.float16])
def test_images_of_another_type(kind: torch.dtype) -> None:
    images = Samples(images=some().images.to(kind), labels=some().labels)
    with pytest.raises(InvalidInput, match=rf"type of the weights, torch.float32, got {kind}"):
        train(network(), images, STANDARD)


@pytest.mark.parametrize(
    "model", [nn.Flatten(), network().requires_grad_(requires_grad=False)], ids=["none", "frozen"]
)
def test_nothing_to_train(model: nn.Module) -> None:
    with pytest.raises(InvalidInput, match="require a gradient"):
        train(model, some(), STANDARD)


def test_batch_norm_over_one_image() -> None:
    """49 images in batches of 16: the last batch has one."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 10))
    with pytest.raises(InvalidInput, match="got 1 image in the last batch"):
        train(model, some(49), STANDARD)


def test_other_errors_of_a_model_are_its_own() -> None:
    def breaks(_logits: torch.Tensor) -> None:
        raise RuntimeError("out of order")

    with pytest.raises(RuntimeError, match="out of order"):
        train(Puts(breaks), some(), STANDARD)


def test_weights_that_the_last_update_made_nan() -> None:
    """Its loss was finite, and no loss comes after it that would tell."""

    class Root(Puts):
        def __init__(self) -> None:
            super().__init__(lambda logits: logits)
            self.scale = nn.Parameter(torch.zeros(()))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = super().forward(images)
            return logits + 0 * self.scale.sqrt()

    one = StandardRecipe(schedule=Schedule(epochs=1, batch_size=56))
    with pytest.raises(NonFiniteOutput, match="infinity in scale"):
        train(Root(), some(), one)


TEACHER = Teacher(name="none", model=nn.Identity())
WARMED: dict[Any, dict[str, Any]] = {
    AmoRecipe: {"epsilon": 0.1},
    CureRecipe: {},
    FgsmRsRecipe: {"epsilon": 0.1},
    GradAlignRecipe: {"epsilon": 0.1},
    GradientPenaltyRecipe: {},
    GuidedRecipe: {"epsilon": 0.1, "teacher": TEACHER},
    LlrRecipe: {"epsilon": 0.1},
    NFgsmRecipe: {"epsilon": 0.1},
    PgdRecipe: {"epsilon": 0.1},
    ScorpioRecipe: {"scorpio": Scorpio.v1(QuadraticAscent(epsilon=0.1))},
    TradesRecipe: {"epsilon": 0.1},
}


@pytest.mark.parametrize("make", WARMED)
@pytest.mark.parametrize("warm_up", [1.5, -0.1, float("nan")])
def test_budgets_that_are_never_reached(make: Any, warm_up: float) -> None:
    assert make(**WARMED[make], warm_up=0.5).warm_up == 0.5
    with pytest.raises(InvalidInput, match="warm_up from 0 to 1"):
        make(**WARMED[make], warm_up=warm_up)


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (PgdRecipe, {"step": -0.5}),  # downhill
        (PgdRecipe, {"steps": 2.5}),
        (TradesRecipe, {"step": 0.0}),
        (TradesRecipe, {"beta": -1.0}),  # away from what is robust
        (TradesRecipe, {"steps": True}),
        (NFgsmRecipe, {"noise": -1.0}),
        (NFgsmRecipe, {"noise": float("inf")}),
        (LlrRecipe, {"slope": -3.0}),
        (LlrRecipe, {"steps": 1.5}),
        (GuidedRecipe, {"width": 6.5}),
        (Schedule, {"epochs": 1.5}),
        (Schedule, {"batch_size": 16.0}),
        (Schedule, {"weight_decay": -1e-4}),
        (Schedule, {"weight_decay": float("nan")}),
    ],
)
def test_numbers_that_train_something_else(make: Any, values: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=f"expected {next(iter(values))}"):
        make(**WARMED.get(make, {}), **values)
