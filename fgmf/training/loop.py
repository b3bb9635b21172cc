"""The training loop.

for each epoch, for each batch of a new order:
    loss = objective.loss(model, images, labels, their places)
    clipped gradient -> AdamW at the one-cycle rate
    average = decay * average + (1 - decay) * weights
the model ends with the average, in evaluation mode
"""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from fgmf.errors import InvalidInput, NonFiniteOutput
from fgmf.seeding import derive_seed, isolated_randomness
from fgmf.training.interface import begin
from fgmf.verdict import Cost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from fgmf.datasets import Samples
    from fgmf.training.interface import KeepingRecipe, Recipe
    from fgmf.types import Bounds


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """Where a training stands, after each update.

    Attributes:
        step: Updates made.
        steps: Updates planned.
        epoch: Number of the epoch, from 1.
        loss: Of this update's batch.
    """

    step: int
    steps: int
    epoch: int
    loss: float


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """What a finished training was.

    Attributes:
        recipe: Its `repr`, which holds every hyper-parameter.
        seed: Fixed order and draws.
        image_count: Training images.
        steps: Updates made.
        losses: Mean loss of each epoch.
        cost: Passes per image over the whole training, and seconds.
    """

    recipe: str
    seed: int
    image_count: int
    steps: int
    losses: tuple[float, ...]
    cost: Cost


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
        NonFiniteOutput: The loss became NaN or infinite; the model is of no use then.

    Randomness: `seed` fixes the result on one device and one thread, also for models with
        dropout; global generators are put back afterwards. First weights are the model's own.
    Cost: the recipe's passes, times the epochs, per image.
    """
    _check(samples, recipe.bounds)
    schedule, started = recipe.schedule, time.perf_counter()
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=schedule.weight_decay)
    draws = torch.Generator().manual_seed(seed)
    steps = schedule.epochs * -(-len(samples) // schedule.batch_size)
    step, losses = 0, []
    objective = begin(recipe, len(samples), tuple(samples.images.shape[1:]))
    average = _WeightAverage(model, schedule.average_decay)
    with isolated_randomness(derive_seed(seed, "training")), average.left_in_the_model():
        for epoch in range(1, schedule.epochs + 1):
            total = 0.0
            order = torch.randperm(len(samples), generator=draws)
            for batch in order.split(schedule.batch_size):
                images = samples.images[batch].to(device)
                labels = samples.labels[batch].to(device, torch.int64)
                progress = (step + 0.5) / steps
                for group in optimizer.param_groups:
                    group["lr"] = schedule.learning_rate(progress)
                loss = objective.loss(model, images, labels, batch, progress=progress, draws=draws)
                value = _finite(loss.item(), step)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                if schedule.gradient_clip is not None:
                    torch.nn.utils.clip_grad_norm_(model.parameters(), schedule.gradient_clip)
                optimizer.step()
                step += 1
                average.take(step)
                total += value * len(batch)
                if on_progress is not None:
                    on_progress(TrainingProgress(step=step, steps=steps, epoch=epoch, loss=value))
            losses.append(total / len(samples))
    optimizer.zero_grad(set_to_none=True)
    forward, backward = (
        math.ceil(count * schedule.epochs * len(samples)) for count in recipe.passes
    )
    seconds = time.perf_counter() - started
    return TrainingReport(
        recipe=repr(recipe),
        seed=seed,
        image_count=len(samples),
        steps=step,
        losses=tuple(losses),
        cost=Cost(forward_passes=forward, backward_passes=backward, seconds=seconds),
    )


class _WeightAverage:
    """Exponential moving average of all floating-point state: weights and running statistics.

    The decay starts low, so that the first weights are soon forgotten:
    min(decay, (1 + t) / (10 + t)) at update t.
    """

    def __init__(self, model: nn.Module, decay: float | None) -> None:
        self._model = model
        self._decay = decay
        self._kept = {} if decay is None else {k: v.clone() for k, v in self._state().items()}

    def take(self, step: int) -> None:
        """Mix in the weights after update `step`, counted from 1."""
        if self._decay is None:
            return
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, value in self._state().items():
            self._kept[name].lerp_(value, 1.0 - decay)

    @contextmanager
    def left_in_the_model(self) -> Iterator[None]:
        """Put the average into the model at the end, however that comes."""
        try:
            yield
        finally:
            for name, value in self._state().items():
                if name in self._kept:
                    value.copy_(self._kept[name])
            self._model.eval()

    def _state(self) -> dict[str, torch.Tensor]:
        """The model's own tensors, which share its memory."""
        state = self._model.state_dict()
        return {name: value for name, value in state.items() if value.is_floating_point()}


def _finite(loss: float, step: int) -> float:
    if not math.isfinite(loss):
        message = f"expected a finite loss, got {loss} at update {step + 1}"
        raise NonFiniteOutput(f"{message}; lower the learning rate, or look for NaN in the images")
    return loss


def _check(samples: Samples, bounds: Bounds) -> None:
    images, labels = samples.images, samples.labels
    if images.ndim != 4 or not images.is_floating_point():
        raise InvalidInput(
            "expected floating-point images of shape (n, c, h, w), "
            f"got {images.dtype} of shape {tuple(images.shape)}"
        )
    lowest, highest = float(images.min()), float(images.max())
    if not bounds[0] <= lowest <= highest <= bounds[1]:
        raise InvalidInput(
            f"expected images within the bounds {list(bounds)} of the recipe, "
            f"got range [{lowest:g}, {highest:g}]; rescale them, or give the recipe their bounds"
        )
    whole = not labels.is_floating_point() and not labels.is_complex()
    if labels.ndim != 1 or not whole or int(labels.min()) < 0:
        raise InvalidInput(
            "expected labels as class numbers from 0 on, of shape (n,), "
            f"got {labels.dtype} of shape {tuple(labels.shape)}"
        )
