"""One training that can be stopped at any update, written down, and gone on with bit by bit.

for each epoch, for each batch of a new order:
    loss = objective.loss(model, images, labels, their places)
    gradient -> before_step -> clip -> optimizer at its rate -> after_step
    average = decay * average + (1 - decay) * weights -> after_update
    after_epoch
the model ends with the average, in evaluation mode

State between two updates: weights, optimizer, average, objective (stored perturbations, counts),
scale of losses, the generator of order and draws, the global generators, the order of this epoch
and the place in it, losses so far, and what each callback keeps.
"""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy

from fgmf.errors import InvalidInput, NonFiniteOutput
from fgmf.scorpio import CurvatureOptimizer
from fgmf.seeding import derive_seed, isolated_randomness
from fgmf.training.averaging import WeightAverage
from fgmf.training.checks import (
    check_samples,
    check_trainable,
    check_views,
    check_weights,
    explain_failure,
)
from fgmf.training.engine import Engine
from fgmf.training.generators import global_state, restore_global_state
from fgmf.training.interface import SharedObjective, begin, follow, show
from fgmf.training.optimizing import Optimization
from fgmf.training.perturbations import evaluating
from fgmf.training.progress import TrainingReport
from fgmf.verdict import Cost

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn

    from fgmf.datasets import Samples
    from fgmf.training.augmentation import Augmentation
    from fgmf.training.callbacks import Callback
    from fgmf.training.interface import KeepingRecipe, Recipe
    from fgmf.training.peers import TrainingPeers
    from fgmf.types import Images, Labels


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """All of a training that is not its objective.

    Attributes:
        seed: Fixes the order of the images and every draw.
        optimization: Optimizer, and the shape of its rate.
        engine: Device, precision, compilation.
        augmentation: How images are moved, anew in every epoch; None leaves them as they are.
        callbacks: Told in this order; one that writes checkpoints comes last.
        peers: Other processes that train the same model; None trains alone.
    """

    seed: int = 0
    optimization: Optimization = field(default_factory=Optimization)
    engine: Engine = field(default_factory=Engine)
    augmentation: Augmentation | None = None
    callbacks: Sequence[Callback] = ()
    peers: TrainingPeers | None = None


class TrainingRun:
    """A training of one model in place.

    Args:
        model: Maps images (n, c, h, w) to logits (n, classes). It is moved to the device.
        samples: Floating-point images within the recipe's bounds, and labels (n,) from 0 on.
        recipe: The objective, with its schedule.
        settings: Everything else.

    Attributes:
        model: As given; callbacks use this one, whatever is run in its place.
        step: Updates made.
        epoch: Epochs completed.
        loss: Of the last update's batch.
        images: Of the last update's batch, where the model is.
        labels: Of the same.
        indices: Of the same: their places in the samples.
        losses: Mean loss of each completed epoch.
        notes: What callbacks noted since the last update, by name.

    Raises:
        InvalidInput: Images or labels that cannot be trained on, or nothing to train.
    """

    def __init__(
        self,
        model: nn.Module,
        samples: Samples,
        recipe: Recipe | KeepingRecipe,
        settings: TrainingSettings | None = None,
    ) -> None:
        check_samples(samples, recipe.bounds)
        check_trainable(model)
        self.model, self.samples, self.recipe = model, samples, recipe
        self.settings = settings = settings or TrainingSettings()
        self.schedule = recipe.schedule
        self.step, self.epoch, self.loss = 0, 0, math.nan
        self.losses: list[float] = []
        self.notes: dict[str, float] = {}
        self.images: Images = samples.images[:0]
        self.labels: Labels = samples.labels[:0]
        self.indices = torch.zeros(0, dtype=torch.int64)
        self._running = settings.engine.placed(model)
        model.train()
        self.optimizer = settings.optimization.build(
            model.parameters(), self.schedule, seed=derive_seed(settings.seed, "optimizer")
        )
        self.objective = begin(recipe, len(samples), tuple(samples.images.shape[1:]))
        check_views(self.objective, settings.augmentation)
        self.average = WeightAverage(model, self.schedule.average_decay)
        self._scaler = settings.engine.scaler()
        self._draws = self._order_draws = torch.Generator().manual_seed(settings.seed)
        if settings.peers is not None:  # one order, and noise of its own in every process
            self._check_peers(settings.peers)
            rank = derive_seed(settings.seed, "rank", settings.peers.rank)
            self._draws = torch.Generator().manual_seed(rank)
        self._globals: dict[str, Any] | None = None
        self._order: torch.Tensor | None = None
        self._place, self._total = 0, 0.0
        self._seconds, self._started = 0.0, time.perf_counter()
        self._reason = ""

    @property
    def steps(self) -> int:
        """Updates planned."""
        return self.schedule.epochs * -(-len(self.samples) // self.schedule.batch_size)

    @property
    def seconds(self) -> float:
        """Spent so far, also before a resumption."""
        return self._seconds + time.perf_counter() - self._started

    @property
    def learning_rate(self) -> float:
        """Of the last update."""
        return float(self.optimizer.param_groups[0]["lr"])

    def note(self, name: str, value: float) -> None:
        """Give a number to whoever writes metrics; it is forgotten before the next update."""
        self.notes[name] = value

    def stop(self, reason: str) -> None:
        """End the training after this update, and say why in the report."""
        self._reason = reason

    def finish(self) -> TrainingReport:
        """Train until the end, from wherever the state is.

        Returns:
            What was done. An interrupted training (KeyboardInterrupt) raises and leaves the model
            as useful as it was by then: averaged, and in evaluation mode.

        Raises:
            InvalidInput: The model puts out something else than logits for these images.
            NonFiniteOutput: The loss became NaN or infinite, or the weights that it ends with are;
                the model is of no use then.

        Randomness: the seed fixes the result on one device and one thread, also for models with
            dropout; global generators are put back afterwards. First weights are the model's own.
        Cost: the recipe's passes, times the epochs, per image.
        """
        peers, seed = self.settings.peers, derive_seed(self.settings.seed, "training")
        if peers is not None and peers.rank:
            seed = derive_seed(seed, "rank", peers.rank)
        with isolated_randomness(seed), self._left_useful():
            if self._globals is not None:
                restore_global_state(self._globals)
            self._tell("begin")
            if self.step == 0:
                if peers is not None:
                    peers.begin(self.model)
                self.average.begin()
            self._agree()
            while self.epoch < self.schedule.epochs and not self._reason:
                self._run_epoch()
            check_weights(self.model)  # the last update has no loss after it that would tell
            self._tell("end")
        return self._report()

    @contextmanager
    def _left_useful(self) -> Iterator[None]:
        """The average in the model and no gradients at the end, however that comes."""
        try:
            with self.average.left_in_the_model():
                yield
        finally:
            self.optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the training depends on; to be written before the next update."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict(),
            "objective": self.objective.state_dict(),
            "scaler": self._scaler.state_dict(),
            "draws": self._draws.get_state(),
            "order_draws": self._order_draws.get_state(),
            "globals": global_state(),
            "order": self._order,
            "place": self._place,
            "total": self._total,
            "step": self.step,
            "epoch": self.epoch,
            "losses": list(self.losses),
            "notes": dict(self.notes),
            "seconds": self.seconds,
            "stopped": self._reason,
            "callbacks": {
                name: kept
                for name, callback in self._named_callbacks().items()
                if (kept := callback.state_dict())
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave, for the same model, samples and settings."""
        callbacks = self._named_callbacks()
        unknown = sorted(state["callbacks"].keys() - callbacks.keys())
        if unknown:
            raise InvalidInput(f"expected the callbacks {', '.join(unknown)}, which keep something")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.load_state_dict(state["average"])
        self.objective.load_state_dict(state["objective"])
        self._scaler.load_state_dict(state["scaler"])
        self._draws.set_state(state["draws"])
        self._order_draws.set_state(state["order_draws"])
        self._globals = state["globals"]
        self._order, self._place, self._total = state["order"], state["place"], state["total"]
        self.step, self.epoch = state["step"], state["epoch"]
        self.losses, self._reason = list(state["losses"]), state["stopped"]
        self.notes = dict(state["notes"])
        self._seconds, self._started = state["seconds"], time.perf_counter()
        for name, kept in state["callbacks"].items():
            callbacks[name].load_state_dict(kept)

    def _named_callbacks(self) -> dict[str, Callback]:
        """By class, and a number where there are several: those that keep nothing may differ."""
        named: dict[str, Callback] = {}
        for callback in self.settings.callbacks:
            kind = type(callback).__name__
            named[f"{kind}-{sum(name.startswith(f'{kind}-') for name in named)}"] = callback
        return named

    def _run_epoch(self) -> None:
        if self._order is None:
            self._order = torch.randperm(len(self.samples), generator=self._order_draws)
            self._place, self._total = 0, 0.0
        for batch in self._order.split(self.schedule.batch_size)[self._place :]:
            self._update(batch)
            if self._reason:
                return
        self.losses.append(self._total / len(self.samples))
        if self.settings.peers is not None:
            self._meet(self.settings.peers, self._order)
        self._order = None
        self.epoch += 1
        self._tell("after_epoch")
        self._agree()

    def _update(self, batch: torch.Tensor) -> None:
        self.notes.clear()
        progress = (self.step + 0.5) / self.steps
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.optimization.learning_rate(self.schedule, progress)
        self.optimizer.zero_grad(set_to_none=True)
        self.loss = self._backward(batch, progress)
        if self.settings.peers is not None:
            self.settings.peers.sum_gradients(list(self.model.parameters()))
        self._scaler.unscale_(self.optimizer)
        self._tell("before_step")
        if self.schedule.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.gradient_clip)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self._tell("after_step")
        self.step += 1
        self._place += 1
        self._total += self.loss * len(batch)
        self.average.take(self.step)
        self._tell("after_update")
        self._agree()

    def _agree(self) -> None:
        """Stop where any process stopped."""
        peers = self.settings.peers
        if peers is not None and peers.any(bool(self._reason)):
            self._reason = self._reason or "another process stopped"

    def _backward(self, batch: torch.Tensor, progress: float) -> float:
        """Gradients of this process's share of the mean loss of a batch; returns the whole loss."""
        peers, total = self.settings.peers, 0.0
        own = batch if peers is None else peers.part(batch)
        parts = own.split(-(-len(own) // self.settings.engine.accumulate))
        for part in parts:
            self._take(part)
            self._tell("before_loss")
            follow(self.objective, further=part is not parts[0])
            if part is parts[0]:
                self._estimate_curvature()
            loss = self._loss(part, progress)
            share = len(part) / len(batch)
            total += share * loss.item()
            self._scaler.scale(share * loss).backward()
        if peers is not None:
            total = float(peers.summed(torch.tensor(total, dtype=torch.float64)))
        return _finite(total, self.step)

    def _check_peers(self, peers: TrainingPeers) -> None:
        last = len(self.samples) % self.schedule.batch_size or self.schedule.batch_size
        if last < peers.count:
            raise InvalidInput(
                f"expected at least {peers.count} images in every batch, one for each process, got "
                f"{last} in the last one; choose another batch_size"
            )

    def _meet(self, peers: TrainingPeers, order: torch.Tensor) -> None:
        """Share what each process keeps of its own: running statistics, stored perturbations."""
        peers.average_buffers(self.model)
        self.average.share(partial(peers.mean, weight=1.0))
        if isinstance(self.objective, SharedObjective):
            batches = order.split(self.schedule.batch_size)
            self.objective.share(peers.summed, torch.cat([peers.part(b) for b in batches]))

    def _take(self, part: torch.Tensor) -> None:
        engine, self.indices = self.settings.engine, part
        images, augmentation = self.samples.images[part], self.settings.augmentation
        if augmentation is not None:
            views = augmentation.draw(len(part), self._draws)
            images = views.of(images, fill=self.recipe.bounds[0])
            show(self.objective, views)
        self.images = engine.images(images)
        self.labels = self.samples.labels[part].to(engine.device, torch.int64)

    def _estimate_curvature(self) -> None:
        """Of the clean cross-entropy in evaluation mode: no draw, no stored state is touched."""
        optimizer, peers = self.optimizer, self.settings.peers
        if isinstance(optimizer, CurvatureOptimizer) and optimizer.due():
            with evaluating(self.model):
                optimizer.update_curvature(
                    lambda: cross_entropy(self._running(self.images), self.labels),
                    None if peers is None else partial(peers.mean, weight=len(self.images)),
                )

    def _loss(self, part: torch.Tensor, progress: float) -> torch.Tensor:
        inputs = self._running, self.images, self.labels, part
        try:
            with self.settings.engine.precision():
                return self.objective.loss(*inputs, progress=progress, draws=self._draws)
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
            explain_failure(error, self.model, self.images, self.labels)
            raise

    def _tell(self, event: str) -> None:
        for callback in self.settings.callbacks:
            getattr(callback, event)(self)

    def _report(self) -> TrainingReport:
        share = self.step / self.steps
        forward, backward = (
            math.ceil(count * self.schedule.epochs * len(self.samples) * share)
            for count in self.recipe.passes
        )
        cost = Cost(forward_passes=forward, backward_passes=backward, seconds=self.seconds)
        return TrainingReport(
            recipe=repr(self.recipe),
            seed=self.settings.seed,
            image_count=len(self.samples),
            steps=self.step,
            losses=tuple(self.losses),
            cost=cost,
            stopped=self._reason,
        )


def _finite(loss: float, step: int) -> float:
    if not math.isfinite(loss):
        message = f"expected a finite loss, got {loss} at update {step + 1}"
        raise NonFiniteOutput(f"{message}; lower the learning rate, or look for NaN in the images")
    return loss
