"""Training in one call: a model, images, a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.training.callbacks import Callback
from fgmf.training.engine import Engine
from fgmf.training.progress import TrainingProgress
from fgmf.training.run import TrainingRun, TrainingSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import nn

    from fgmf.datasets import Samples
    from fgmf.training.interface import KeepingRecipe, Recipe
    from fgmf.training.progress import TrainingReport


def train(
    model: nn.Module,
    samples: Samples,
    recipe: Recipe | KeepingRecipe,
    *,
    seed: int = 0,
    device: str | torch.device = "cpu",
    on_progress: Callable[[TrainingProgress], None] | None = None,
) -> TrainingReport:
    """Train a model in place.

    Args:
        model: Maps images (n, c, h, w) to logits (n, classes). It is moved to `device`, and left
            there in evaluation mode.
        samples: Floating-point images within the recipe's bounds, and labels (n,) from 0 on.
        recipe: The objective, with its schedule.
        seed: Fixes the order of the images and every draw.
        device: Where to train.
        on_progress: Called after every update.

    Returns:
        What was done. An interrupted training (KeyboardInterrupt) raises and leaves the model
        as useful as it was by then: averaged, and in evaluation mode.

    Raises:
        InvalidInput: Images or labels that cannot be trained on.
        NonFiniteOutput: The loss became NaN or infinite, or the weights at the end; the model is of
            no use then.

    Randomness: `seed` fixes the result on one device and one thread, also for models with
        dropout; global generators are put back afterwards. First weights are the model's own.
    Cost: the recipe's passes, times the epochs, per image.
    """
    told = () if on_progress is None else (ProgressTold(on_progress),)
    settings = TrainingSettings(seed=seed, engine=Engine(device=str(device)), callbacks=told)
    return TrainingRun(model, samples, recipe, settings).finish()


class ProgressTold(Callback):
    """Calls a function after every update.

    Args:
        function: Gets where the training stands.
    """

    def __init__(self, function: Callable[[TrainingProgress], None]) -> None:
        self._function = function

    def after_update(self, run: TrainingRun) -> None:
        """Call it."""
        self._function(
            TrainingProgress(step=run.step, steps=run.steps, epoch=run.epoch + 1, loss=run.loss)
        )
