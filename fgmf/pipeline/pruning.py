"""The table ``[pruning]`` of a recipe file: what goes while a model is trained, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.errors import InvalidInput, ModelStateChanged, StaleEvidence
from fgmf.seeding import derive_seed, isolated_randomness
from fgmf.sparsity import (
    PruningSchedule,
    ScheduledPruning,
    SparsityPattern,
    find_units,
    gradient_scores,
    keep_highest,
    keep_n_of_m,
    load_pattern,
    magnitude_scores,
    prune_units,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    import torch
    from torch import nn

    from fgmf.datasets import Samples
    from fgmf.pipeline.loading import TrainingPlan
    from fgmf.pipeline.tables import PruningTable
    from fgmf.training import KeepingRecipe, Recipe, TrainingRun
    from fgmf.types import Images


def build_pruning(
    plan: TrainingPlan, samples: Samples, recipe: Recipe | KeepingRecipe
) -> ScheduledPruning | None:
    """Make the callback that prunes; None where there is no such table.

    Args:
        plan: A checked recipe file.
        samples: Images that scores are taken on.
        recipe: Of the training: gradient scores are on its loss, whole budget.

    Returns:
        A callback; one for units raises `InvalidInput` at the beginning of a training whose model
        can't be followed.

    Randomness: the plan's seed, the same in every process.
    """
    table = plan.pruning
    if table is None:
        return None
    seed = derive_seed(plan.seed, "pruning")

    def scored(model: nn.Module, besides: Collection[str]) -> Mapping[str, torch.Tensor]:
        if table.scores == "magnitude":
            return magnitude_scores(model, besides=besides)
        return gradient_scores(
            model, samples, recipe, image_count=table.images, seed=seed, besides=besides
        )

    def choose(model: nn.Module, share: float) -> SparsityPattern:
        if table.structure == "units":
            device = next(model.parameters()).device
            found = find_units(model, samples.images[:2].to(device))
            return prune_units(
                model, found, scored(model, ()), share, scope=table.scope, besides=table.besides
            )
        weights = dict(model.named_parameters())
        scores = {  # what is zero goes first, before others whose loss has no gradient
            name: score.masked_fill(weights[name].detach() == 0, -1.0)
            for name, score in scored(model, table.besides).items()
        }
        if table.structure == "n-of-m":
            return keep_n_of_m(scores, n=table.n, m=table.m)
        return keep_highest(scores, share, scope=table.scope)

    if table.structure == "units":
        return _UnitPruning(samples.images[:2], table, choose, _schedule(table))
    return ScheduledPruning(choose, _schedule(table))


class _UnitPruning(ScheduledPruning):
    """Looks for units before the first update, not only when the first are due."""

    def __init__(
        self,
        images: Images,
        table: PruningTable,
        choose: Callable[[nn.Module, float], SparsityPattern],
        schedule: PruningSchedule,
    ) -> None:
        super().__init__(choose, schedule)
        self._images, self._table = images, table

    def begin(self, run: TrainingRun) -> None:
        """Refuse a model whose units can't be found or chosen; then as any pruning."""
        model, table = run.model, self._table
        device = next(model.parameters()).device
        with isolated_randomness(0):  # a run that goes on draws as if nobody had looked
            found = find_units(model, self._images.to(device))
        # By magnitudes, which cost nothing, and thrown away.
        scores, besides = magnitude_scores(model, besides=()), table.besides
        prune_units(model, found, scores, table.share or 0.5, scope=table.scope, besides=besides)
        super().begin(run)


def held_pattern(pruning: ScheduledPruning, model: nn.Module) -> SparsityPattern | None:
    """Return what is gone at the end of a training; None where it was stopped before any went.

    Raises:
        ModelStateChanged: A weight that was removed is not zero: something else moved it.
    """
    pattern = pruning.pattern
    if not pattern.tensors:
        return None
    moved = pattern.violations(model)
    if moved:
        name, count = next(iter(moved.items()))
        message = "expected removed weights to stay zero"
        raise ModelStateChanged(f"{message}, got {count} others in {name}; what else changes them?")
    return pattern


def check_pattern(path: Path, digest: str, model: nn.Module) -> None:
    """Hold a reloaded model against the pattern that its training ended with.

    Raises:
        StaleEvidence: The pattern is another, or the weights are not those that it leaves.
    """
    if not path.is_file():
        raise StaleEvidence(f"expected the pattern that the manifest names in {path}, got none")
    pattern = load_pattern(path)
    if pattern.digest != digest:
        raise StaleEvidence(f"expected the pattern that the manifest names in {path}, got another")
    try:
        moved = pattern.violations(model)
    except InvalidInput as error:
        raise StaleEvidence(f"expected the pattern of this model in {path}: {error}") from error
    if moved:
        raise StaleEvidence(
            f"expected zeros as in {path}, got other weights in {next(iter(moved))}"
        )


def _schedule(table: PruningTable) -> PruningSchedule:
    if table.structure == "n-of-m":  # all at once: N of M is N of M
        return PruningSchedule(
            final_share=1 - table.n / table.m, begin=table.begin, end=table.begin, shape="one-shot"
        )
    return PruningSchedule(
        final_share=table.share or 0.0,
        begin=table.begin,
        end=table.end,
        shape=table.shape,
        rounds=table.rounds,
    )
