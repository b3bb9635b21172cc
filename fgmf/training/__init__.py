"""Training of small classifiers, clean or adversarial, reproducibly: one loop, many recipes.

    recipe = NFgsmRecipe(epsilon=0.1)
    report = train(ConvNet(), samples, recipe, seed=7)

`interface` says what a recipe is. `recipes` holds plain and adversarial ones, `gradient_recipes`
penalties on gradients, `saliency_recipes` and `distillation_recipes` what their names say,
`scorpio_recipes` those with curvature and stored perturbations, `sgam_recipe` lessons for the
saliency mask; `ramped` moves numbers of any of them, `perturbations` moves images for them,
`augmentation` before them.
`loop` is the one call above, `run` a training that can stop anywhere and go on; `optimizing`,
`engine`, `averaging`, `callbacks`, `peers` and `fabric` are its parts, `checkpoints` and `metrics`
what it writes.
"""

from __future__ import annotations

from fgmf.training.around import AroundObjective, AroundRecipe
from fgmf.training.augmentation import Augmentation, ViewedPerturbations, Views
from fgmf.training.callbacks import Callback, CollapseWatch, Pruning
from fgmf.training.checkpoints import (
    CheckpointWriter,
    read_checkpoint,
    read_shared_checkpoint,
    state_of,
)
from fgmf.training.distillation_recipes import (
    DistillationRecipe,
    GuidedRecipe,
    SmoothedRecipe,
    Teacher,
)
from fgmf.training.engine import Engine
from fgmf.training.fabric import peers_of
from fgmf.training.gradient_recipes import (
    CureRecipe,
    GradAlignRecipe,
    GradientPenaltyRecipe,
    LlrRecipe,
)
from fgmf.training.interface import KeepingRecipe, Objective, Recipe, SeeingObjective, begin
from fgmf.training.loop import train
from fgmf.training.metrics import MetricsWriter
from fgmf.training.optimizing import Optimization
from fgmf.training.peers import TrainingPeers
from fgmf.training.perturbations import Ascent, climb_divergence, climb_loss, noisy_step
from fgmf.training.progress import TrainingProgress, TrainingReport
from fgmf.training.ramped import RampedRecipe
from fgmf.training.recipes import FgsmRsRecipe, NFgsmRecipe, PgdRecipe, StandardRecipe, TradesRecipe
from fgmf.training.run import TrainingRun, TrainingSettings
from fgmf.training.saliency_recipes import SaliencyGuidedRecipe
from fgmf.training.schedule import Schedule
from fgmf.training.scorpio_recipes import AmoRecipe, ScorpioRecipe
from fgmf.training.sgam_recipe import SgamRecipe
from fgmf.training.team_recipes import TeamRecipe, TeamWay, gradient_alignment

__all__ = [
    "AmoRecipe",
    "AroundObjective",
    "AroundRecipe",
    "Ascent",
    "Augmentation",
    "Callback",
    "CheckpointWriter",
    "CollapseWatch",
    "CureRecipe",
    "DistillationRecipe",
    "Engine",
    "FgsmRsRecipe",
    "GradAlignRecipe",
    "GradientPenaltyRecipe",
    "GuidedRecipe",
    "KeepingRecipe",
    "LlrRecipe",
    "MetricsWriter",
    "NFgsmRecipe",
    "Objective",
    "Optimization",
    "PgdRecipe",
    "Pruning",
    "RampedRecipe",
    "Recipe",
    "SaliencyGuidedRecipe",
    "Schedule",
    "ScorpioRecipe",
    "SeeingObjective",
    "SgamRecipe",
    "SmoothedRecipe",
    "StandardRecipe",
    "Teacher",
    "TeamRecipe",
    "TeamWay",
    "TradesRecipe",
    "TrainingPeers",
    "TrainingProgress",
    "TrainingReport",
    "TrainingRun",
    "TrainingSettings",
    "ViewedPerturbations",
    "Views",
    "begin",
    "climb_divergence",
    "climb_loss",
    "gradient_alignment",
    "noisy_step",
    "peers_of",
    "read_checkpoint",
    "read_shared_checkpoint",
    "state_of",
    "train",
]
