"""Pruning as a callback of a training: `TrainingRun` tells it when, it says what goes.

begin         what is due at the start goes
before_step   gradients of what is gone become zero, before they are clipped
after_step    what is gone is zero again, before the average takes the weights
after_update  what is due goes: from the weights, and from their average

What is gone stays gone in the weights, in their average, and across a resumption.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fgmf.sparsity.pattern import SparsityPattern
from fgmf.training import Callback

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import nn

    from fgmf.sparsity.schedules import PruningSchedule
    from fgmf.training import TrainingRun

    Choice = Callable[[nn.Module, float], SparsityPattern]


class ScheduledPruning(Callback):
    """Prunes a model while it is trained.

    Args:
        choose: Takes the model and a share, and returns what else goes, such as
            ``lambda model, share: prune_units(model, found, magnitude_scores(model), share)``.
        schedule: When how much goes.

    Attributes:
        pattern: Of everything that is gone by now; it only grows.
    """

    def __init__(self, choose: Choice, schedule: PruningSchedule) -> None:
        self.pattern = SparsityPattern(tensors={})
        self._choose, self._schedule = choose, schedule
        self._share = 0.0
        self._kept: dict[str, torch.Tensor] = {}

    def begin(self, run: TrainingRun) -> None:
        """Take what is due at the start, or hold what was gone before a resumption."""
        self._set(run, self.pattern)
        self._advance(run)

    def before_step(self, run: TrainingRun) -> None:
        """Silence the gradients of what is gone: momentum and decay leave it at zero."""
        for name, parameter in run.model.named_parameters():
            if name in self._kept and parameter.grad is not None:
                parameter.grad.mul_(self._kept[name].to(parameter.grad.dtype))

    def after_step(self, run: TrainingRun) -> None:
        """Put the zeros back: momentum from before may have moved them."""
        self.pattern.apply(run.model)

    def after_update(self, run: TrainingRun) -> None:
        """Take what is due by now."""
        self._advance(run)
        run.note("pruned_share", self.pattern.share_removed(run.model))

    def state_dict(self) -> dict[str, Any]:
        """The share that was reached, and the pattern."""
        return {"share": self._share, "kept": self.pattern.kept()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        self._share = float(state["share"])
        self.pattern = SparsityPattern.of(state["kept"])

    def _advance(self, run: TrainingRun) -> None:
        share = self._schedule.share(run.step / run.steps)
        if share > self._share:
            self._share = share
            self._set(run, self.pattern.joined(self._choose(run.model, share)))

    def _set(self, run: TrainingRun, pattern: SparsityPattern) -> None:
        """Hold a pattern from now on, in the weights and in their average."""
        self.pattern = pattern
        pattern.apply(run.model)
        devices = {name: parameter.device for name, parameter in run.model.named_parameters()}
        self._kept = {name: kept.to(devices[name]) for name, kept in pattern.kept().items()}
        average = run.average.state_dict()
        for name, kept in self._kept.items():
            if name in average:
                average[name].mul_(kept.to(average[name].dtype))
