"""Training of small classifiers, clean or adversarial, reproducibly: one loop, many recipes.

    recipe = NFgsmRecipe(epsilon=0.1)
    report = train(ConvNet(), samples, recipe, seed=7)

`interface` says what a recipe is, `recipes` holds plain ones, `scorpio_recipes` those with
curvature, stored perturbations and the saliency mask; `perturbations` moves images for them, `loop`
is the loop.
"""

from __future__ import annotations

from fgmf.training.interface import KeepingRecipe, Objective, Recipe, begin
from fgmf.training.loop import TrainingProgress, TrainingReport, train
from fgmf.training.perturbations import Ascent, climb_divergence, climb_loss, noisy_step
from fgmf.training.recipes import (
    NFgsmRecipe,
    PgdRecipe,
    Schedule,
    StandardRecipe,
    TradesRecipe,
)
from fgmf.training.scorpio_recipes import AmoRecipe, ScorpioRecipe, SgamRecipe

__all__ = [
    "AmoRecipe",
    "Ascent",
    "KeepingRecipe",
    "NFgsmRecipe",
    "Objective",
    "PgdRecipe",
    "Recipe",
    "Schedule",
    "ScorpioRecipe",
    "SgamRecipe",
    "StandardRecipe",
    "TradesRecipe",
    "TrainingProgress",
    "TrainingReport",
    "begin",
    "climb_divergence",
    "climb_loss",
    "noisy_step",
    "train",
]
