"""When how much is pruned, and how weights that are gone stay gone while training goes on.

    pruner = Pruner(model, choose, PruningSchedule(final_share=0.9))
    with pruner.holding():
        train(model, samples, recipe, on_progress=pruner)       # any loop that says how far it is
    pruner.pattern

The gradient of a removed weight is set to zero, so momentum, weight decay and weight averages leave
it at zero; the pattern is applied again at each step and at the end all the same.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from fgmf.errors import InvalidInput
from fgmf.sparsity.pattern import SparsityPattern
from fgmf.sparsity.selecting import check_share
from fgmf.training import train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch
    from torch import nn

    from fgmf.datasets import Samples
    from fgmf.training import KeepingRecipe, Recipe, TrainingReport

    Choice = Callable[[nn.Module, float], SparsityPattern]


class Step(Protocol):
    """How far a training is, as `fgmf.training.TrainingProgress` says it."""

    @property
    def step(self) -> int:
        """Updates made."""

    @property
    def steps(self) -> int:
        """Updates planned."""


@dataclass(frozen=True, kw_only=True)
class PruningSchedule:
    """The share of units or weights that are gone at each time of a training.

    Attributes:
        final_share: At the end.
        begin: Part of the training, from 0 to 1, at which pruning begins.
        end: And at which the final share is reached; the rest of the training repairs.
        shape: ``one-shot`` takes all at `begin`; ``linear``; ``cubic`` takes most early.
        rounds: So many times in between the choice is made anew.

    Source: Zhu and Gupta (2017) for the cubic form.
    """

    final_share: float
    begin: float = 0.0
    end: float = 0.5
    shape: Literal["one-shot", "linear", "cubic"] = "cubic"
    rounds: int = 8

    def __post_init__(self) -> None:
        """Refuse schedules that never get there.

        Raises:
            InvalidInput: A value outside its range.
        """
        check_share(self.final_share)
        if not 0.0 <= self.begin <= self.end <= 1.0 or self.rounds < 1:
            message = "expected 0 <= begin <= end <= 1 and rounds >= 1"
            raise InvalidInput(f"{message}, got {self.begin}, {self.end}, {self.rounds}")
        if self.shape not in ("one-shot", "linear", "cubic"):
            raise InvalidInput(f"expected one-shot, linear or cubic, got {self.shape!r}")

    def share(self, progress: float) -> float:
        """Return the share that is gone at `progress`, from 0 to 1, through the training."""
        if progress < self.begin:
            return 0.0
        if self.shape == "one-shot" or progress >= self.end:
            return self.final_share
        passed = (progress - self.begin) / (self.end - self.begin)
        passed = int(passed * self.rounds) / self.rounds
        return self.final_share * (passed if self.shape == "linear" else 1 - (1 - passed) ** 3)


class Pruner:
    """Prunes a model while it is trained; a callback that any training loop can call.

    Args:
        model: Changed in place.
        choose: Takes the model and a share, and returns the pattern to apply, such as
            ``lambda model, share: prune_units(model, found, magnitude_scores(model), share)``.
        schedule: When how much goes.

    Attributes:
        pattern: Of everything that is gone by now; it only grows.
    """

    def __init__(self, model: nn.Module, choose: Choice, schedule: PruningSchedule) -> None:
        self.pattern = SparsityPattern(tensors={})
        self._model, self._choose, self._schedule = model, choose, schedule
        self._share = 0.0
        self._kept: dict[str, torch.Tensor] = {}

    def __call__(self, at: Step) -> None:
        """Prune what is due after a step; the form of `on_progress`."""
        self.advance(at.step / at.steps)

    def advance(self, progress: float) -> None:
        """Prune what is due at `progress`, from 0 to 1, and hold what is gone at zero."""
        share = self._schedule.share(progress)
        if share > self._share:
            self._share = share
            self._take(self._choose(self._model, share))
        self.pattern.apply(self._model)

    @contextmanager
    def holding(self) -> Iterator[Pruner]:
        """Keep gradients of removed weights at zero inside; what is gone is gone at the end."""
        hooks = [
            parameter.register_hook(self._hook(name))
            for name, parameter in self._model.named_parameters()
            if parameter.requires_grad
        ]
        try:
            self.advance(0.0)
            yield self
        finally:
            for hook in hooks:
                hook.remove()
            self.pattern.apply(self._model)

    def _take(self, pattern: SparsityPattern) -> None:
        self.pattern = self.pattern.joined(pattern)
        self._kept = self.pattern.kept()

    def _hook(self, name: str) -> Callable[[torch.Tensor], torch.Tensor | None]:
        def silence(gradient: torch.Tensor) -> torch.Tensor | None:
            kept = self._kept.get(name)
            return None if kept is None else gradient * kept.to(gradient.device, gradient.dtype)

        return silence


def fine_tune(
    model: nn.Module,
    samples: Samples,
    recipe: Recipe | KeepingRecipe,
    pattern: SparsityPattern,
    *,
    seed: int = 0,
) -> TrainingReport:
    """Train a pruned model in place by any recipe, while what is gone stays gone.

    Args:
        model: Whose removed weights are set to zero first.
        samples: Training images and labels.
        recipe: The objective, such as the one that the model was trained by.
        pattern: What is gone.
        seed: Of the training.

    Raises:
        InvalidInput: The pattern is that of another model; or as `fgmf.training.train`.

    Cost: that of the recipe.
    """
    schedule = PruningSchedule(final_share=0.5, begin=0.0, end=0.0, shape="one-shot")
    pruner = Pruner(model, lambda _model, _share: pattern, schedule)
    with pruner.holding():
        return train(model, samples, recipe, seed=seed, on_progress=pruner)
