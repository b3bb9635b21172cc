"""Training of small classifiers, clean or adversarial, reproducibly: one loop, many recipes.

    recipe = NFgsmRecipe(epsilon=0.1)
    report = train(ConvNet(), samples, recipe, seed=7)

`interface` says what a recipe is, `recipes` holds plain ones, `scorpio_recipes` those with
curvature, stored perturbations and the saliency mask; `perturbations` moves images for them.
`loop` is the one call above, `run` a training that can stop anywhere and go on; `optimizing`,
`engine`, `averaging` and `callbacks` are its parts, `checkpoints` and `metrics` what it writes.
"""

from __future__ import annotations

from fgmf.training.callbacks import Callback, CollapseWatch, Pruning
from fgmf.training.checkpoints import CheckpointWriter, read_checkpoint
from fgmf.training.engine import Engine
from fgmf.training.interface import KeepingRecipe, Objective, Recipe, begin
from fgmf.training.loop import train
from fgmf.training.metrics import MetricsWriter
from fgmf.training.optimizing import Optimization
from fgmf.training.perturbations import Ascent, climb_divergence, climb_loss, noisy_step
from fgmf.training.progress import TrainingProgress, TrainingReport
from fgmf.training.ramped import RampedRecipe
from fgmf.training.recipes import NFgsmRecipe, PgdRecipe, StandardRecipe, TradesRecipe
from fgmf.training.run import TrainingRun, TrainingSettings
from fgmf.training.schedule import Schedule
from fgmf.training.scorpio_recipes import AmoRecipe, ScorpioRecipe, SgamRecipe

__all__ = [
    "AmoRecipe",
    "Ascent",
    "Callback",
    "CheckpointWriter",
    "CollapseWatch",
    "Engine",
    "KeepingRecipe",
    "MetricsWriter",
    "NFgsmRecipe",
    "Objective",
    "Optimization",
    "PgdRecipe",
    "Pruning",
    "RampedRecipe",
    "Recipe",
    "Schedule",
    "ScorpioRecipe",
    "SgamRecipe",
    "StandardRecipe",
    "TradesRecipe",
    "TrainingProgress",
    "TrainingReport",
    "TrainingRun",
    "TrainingSettings",
    "begin",
    "climb_divergence",
    "climb_loss",
    "noisy_step",
    "read_checkpoint",
    "train",
]
