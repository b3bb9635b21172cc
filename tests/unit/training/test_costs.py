"""What recipes say that they cost, against what is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from unit.training.trainings import some

from fgmf.backbones import ConvNet, ConvNetConfig
from fgmf.training import (
    AmoRecipe,
    CureRecipe,
    DistillationRecipe,
    FgsmRsRecipe,
    GradAlignRecipe,
    GradientPenaltyRecipe,
    GuidedRecipe,
    LlrRecipe,
    NFgsmRecipe,
    PgdRecipe,
    SaliencyGuidedRecipe,
    SmoothedRecipe,
    StandardRecipe,
    Teacher,
    TradesRecipe,
    begin,
)

if TYPE_CHECKING:
    from torch import nn


def network() -> nn.Module:
    return ConvNet(ConvNetConfig(image_side=8, widths=(4,), hidden=8), seed=1)


TEACHER = Teacher(name="t", model=network())
# Passes that end in the parameters, by what they go through: a loss 1, a gradient 2, two 3.
CASES: list[tuple[Any, int]] = [
    (StandardRecipe(), 1),
    (SmoothedRecipe(), 1),
    (FgsmRsRecipe(epsilon=0.1), 1),
    (NFgsmRecipe(epsilon=0.1), 1),
    (PgdRecipe(epsilon=0.1, steps=3), 1),
    (TradesRecipe(epsilon=0.1, steps=2), 2),
    (AmoRecipe(epsilon=0.1), 1),
    (CureRecipe(), 1 + 3),
    (GradientPenaltyRecipe(), 1 + 2),
    (GradAlignRecipe(epsilon=0.1), 1 + 2),
    (LlrRecipe(epsilon=0.1, steps=3), 2 + 2),
    (SaliencyGuidedRecipe(), 2),
    (DistillationRecipe(teacher=TEACHER), 1),
    (GuidedRecipe(teacher=TEACHER, epsilon=0.1, steps=2), 2),
]


@pytest.mark.parametrize(("recipe", "ending"), CASES, ids=lambda v: type(v).__name__)
def test_forward_passes_and_gradients(
    recipe: Any, ending: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forward passes of all models in images; gradients in images, and the backward pass."""
    model, samples = network(), some(12)
    counted = {"forward": 0, "gradient": 0}

    def seen(_module: nn.Module, inputs: tuple[torch.Tensor, ...], _output: object) -> None:
        counted["forward"] += len(inputs[0])

    grad = torch.autograd.grad

    def gradient(outputs: Any, inputs: Any, *args: Any, **options: Any) -> Any:
        counted["gradient"] += 12
        return grad(outputs, inputs, *args, **options)

    monkeypatch.setattr(torch.autograd, "grad", gradient)
    handles = [each.register_forward_hook(seen) for each in (model, TEACHER.model)]
    try:
        objective = begin(recipe, 12, (1, 8, 8))
        loss = objective.loss(
            model,
            samples.images,
            samples.labels,
            torch.arange(12),
            progress=0.5,
            draws=torch.Generator(),
        )
    finally:
        for handle in handles:
            handle.remove()
    loss.backward()
    assert counted["forward"] / 12 == recipe.passes[0]
    assert counted["gradient"] / 12 + ending == recipe.passes[1]
