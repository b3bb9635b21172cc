"""Sparsity: which weights of a model go, and models without the units that are gone.

    found   = find_units(model, images)                    what can be removed whole
    scores  = gradient_scores(model, samples, recipe)      robust: adversarial recipe
    pattern = prune_units(model, found, scores, 0.5)
    fine_tune(model, samples, recipe, pattern)
    smaller = compact(model, images).model                 the same outputs, faster

A `SparsityPattern` is a value: saved, compared, applied, and checked to have stayed zero.
"""

from __future__ import annotations

from fgmf.sparsity.callback import ScheduledPruning
from fgmf.sparsity.compaction import Compaction, compact
from fgmf.sparsity.files import load_pattern, save_pattern
from fgmf.sparsity.pattern import SparsityPattern, TensorPattern
from fgmf.sparsity.removal import RemovalPlan
from fgmf.sparsity.schedules import Pruner, PruningSchedule, fine_tune
from fgmf.sparsity.scoring import gradient_scores, magnitude_scores, prunable_weights
from fgmf.sparsity.selecting import keep_highest, keep_n_of_m
from fgmf.sparsity.structured import pattern_of_units, prune_units, unit_scores
from fgmf.sparsity.tracing import find_units
from fgmf.sparsity.units import FoundUnits, UnitGroup

__all__ = [
    "Compaction",
    "FoundUnits",
    "Pruner",
    "PruningSchedule",
    "RemovalPlan",
    "ScheduledPruning",
    "SparsityPattern",
    "TensorPattern",
    "UnitGroup",
    "compact",
    "find_units",
    "fine_tune",
    "gradient_scores",
    "keep_highest",
    "keep_n_of_m",
    "load_pattern",
    "magnitude_scores",
    "pattern_of_units",
    "prunable_weights",
    "prune_units",
    "save_pattern",
    "unit_scores",
]
