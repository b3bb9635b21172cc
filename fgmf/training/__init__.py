"""Training of small classifiers, clean or adversarial, reproducibly: one loop, four recipes.

    recipe = NFgsmRecipe(epsilon=0.1)
    report = train(ConvNet(), samples, recipe, seed=7)

`recipes` holds the objectives, `perturbations` how images are moved for them, `loop` the loop.
"""

from __future__ import annotations

from fgmf.training.loop import TrainingProgress, TrainingReport, train
from fgmf.training.perturbations import Ascent, climb_divergence, climb_loss, noisy_step
from fgmf.training.recipes import (
    NFgsmRecipe,
    PgdRecipe,
    Recipe,
    Schedule,
    StandardRecipe,
    TradesRecipe,
)

__all__ = [
    "Ascent",
    "NFgsmRecipe",
    "PgdRecipe",
    "Recipe",
    "Schedule",
    "StandardRecipe",
    "TradesRecipe",
    "TrainingProgress",
    "TrainingReport",
    "climb_divergence",
    "climb_loss",
    "noisy_step",
    "train",
]
