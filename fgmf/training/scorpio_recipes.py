"""Recipes that stand on curvature and stored perturbations.

SCORPIO    CE(f(x), y) + penalty of how far a quadratic model of the loss rises       v1
AMO        CE_smoothed(f(x'), y)     x' = x moved by its own stored perturbation, one fresh gradient
SCOR-PIO 2 AMO, and on the first images of the batch, every r updates, what the answer loses when
           only the salient pixels are left; the curvature of the answers along the path of
           integrated gradients, and any penalty with salience, where they have a weight
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch.nn.functional import cross_entropy

from fgmf.curvature import ImageLoss
from fgmf.errors import InvalidInput
from fgmf.scorpio import (
    Amortised,
    PathCurvature,
    PerturbationStore,
    QuadraticAscent,
    Salience,
    SalientAnswer,
    Scorpio,
    amortised_step,
    path_curvature,
    salient_answer,
    scorpio_penalty,
)
from fgmf.training.augmentation import ViewedPerturbations
from fgmf.training.interface import (
    UpdateCount,
)
from fgmf.training.perturbations import (
    differs_in_training,
    evaluating,
    penalising,
    uncompiled,
)
from fgmf.training.schedule import Schedule, check_positive, check_warm_up, grown

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import nn

    from fgmf.scorpio import MovedImages
    from fgmf.training.augmentation import Views
    from fgmf.training.interface import Objective
    from fgmf.types import Bounds, Images, Labels


@dataclass(frozen=True, kw_only=True)
class ScorpioRecipe:
    """Cross-entropy on clean images, and the SCORPIO penalty in every update.

    Attributes:
        scorpio: The penalty; its ascent holds the budget. `Scorpio.v1(...)` is the published one.
        warm_up: Share of the training over which the budget grows.
        bounds: Range of the pixels.
        schedule: Length and speed.

    Source: SCORPIO (arXiv 2009.04923); constants are ours.
    Cost: the penalty's passes, 1 backward pass through its gradients, counted as 3. Where the model
        may behave otherwise in training (batch norm, dropout, modules of yours), the cross-entropy
        is taken in training mode besides, for 1 forward and 1 backward pass more. What is taken
        with the penalty is computed in full precision under autocast too.
    """

    scorpio: Scorpio
    warm_up: float = 0.2
    bounds: Bounds = (0.0, 1.0)
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        """Refuse budgets that are never reached."""
        check_warm_up(self)

    @property
    def passes(self) -> tuple[float, float]:
        """Forward and backward passes per image and epoch."""
        spent = self.scorpio.cost
        return spent.forward, spent.backward + _THROUGH_GRADIENTS

    def loss(
        self,
        model: nn.Module,
        images: Images,
        labels: Labels,
        *,
        progress: float,
        draws: torch.Generator,
    ) -> torch.Tensor:
        """Cross-entropy and penalty; see :meth:`fgmf.training.Recipe.loss`."""
        scorpio = self.scorpio.scaled(grown(1.0, self.warm_up, progress))
        with penalising(model, images):  # each loss from its own image
            loss_of = ImageLoss(model=uncompiled(model), labels=labels)
            found = scorpio_penalty(loss_of, images, scorpio, draws=draws)
        if differs_in_training(model):
            return cross_entropy(model(images), labels) + found.penalty
        return found.losses.mean() + found.penalty


_THROUGH_GRADIENTS = 3
"""Backward passes that one through two gradients is counted as: about what it takes on a CNN
(docs/curvature.md, training through a difference); it is more on a ViT."""


@dataclass(frozen=True, kw_only=True)
class AmoRecipe:
    """Cross-entropy on images moved by stored perturbations, with room for a penalty.

    Attributes:
        epsilon: Budget in the units of `bounds`.
        overshoot: The budget of training over `epsilon`.
        amortised: Noise and step of the refreshing gradient.
        label_smoothing: Of the cross-entropy.
        answer: Lets answers rest on salient pixels, which the refreshing gradient names; None for
            AMO alone. :meth:`scor_pio_2` fills it.
        path: Straightens answers along the path of integrated gradients; None leaves it out.
        penalty: Along salient, exploitable directions; None leaves it out.
        every: Updates from one term (`answer`, `path`, `penalty`) to the next.
        share: Of the batch that a term looks at.
        warm_up: Share of the training over which the budget grows.
        bounds: Range of the pixels.
        schedule: Length and speed.

    Source: our reconstruction; stored perturbations are close to ATTA (Zheng et al. 2020), which
        also moves them with augmented images.
    Cost: 2 forward and 2 backward passes, and those of `answer`, `path` and `penalty`, over
        `every`, times `share`.
    """

    epsilon: float
    overshoot: float = 1.1
    amortised: Amortised = field(default_factory=Amortised)
    label_smoothing: float = 0.1
    answer: SalientAnswer | None = None
    path: PathCurvature | None = None
    penalty: Scorpio | None = None
    every: int = 1
    share: float = 0.25
    warm_up: float = 0.2
    bounds: Bounds = (0.0, 1.0)
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        """Refuse budgets that move nothing, and intervals that are none."""
        check_positive(self, "epsilon", "overshoot", "share")
        check_warm_up(self)
        if not 0.0 <= self.label_smoothing < 1.0:
            raise InvalidInput(
                f"expected label_smoothing from 0 up to, without, 1, got {self.label_smoothing!r}"
            )
        if not isinstance(self.every, int) or self.every < 1 or self.share > 1.0:
            raise InvalidInput(
                "expected every as a whole number above 0 and a share up to 1, "
                f"got {self.every!r} and {self.share!r}"
            )

    @classmethod
    def scor_pio_2(  # noqa: PLR0913 - the weight of each term
        cls,
        epsilon: float,
        *,
        answer_weight: float = 1.0,
        path_weight: float = 0.0,
        weight: float = 0.0,
        psd_weight: float = 0.0,
        keep_weight: float = 0.0,
        schedule: Schedule | None = None,
    ) -> AmoRecipe:
        """SCOR-PIO 2.0: AMO whose answers rest on the pixels that the gradient names.

        Perturbations are refreshed by more noise and a shorter step than AMO's within the budget
        itself, and labels are not smoothed: that keeps explanations closer to those of networks
        that PGD trained. The curvature along the path and the terms of the document (rise, PSD,
        keeping) are there and off: they have not earned their time (docs/measurements-training.md).

        Args:
            epsilon: Budget in the units of [0, 1].
            answer_weight: Of what the answer loses when only salient pixels are left.
            path_weight: Of the curvature along the path of integrated gradients.
            weight: Of the rise along salient, exploitable directions.
            psd_weight: Of the penalty on negative curvature.
            keep_weight: Of the term that keeps the explanation on salient pixels.
            schedule: Length and speed.
        """
        penalty = None
        if weight > 0 or psd_weight > 0 or keep_weight > 0:
            penalty = Scorpio(
                ascent=QuadraticAscent(epsilon=epsilon, steps=0, bounds=(0.0, 1.0)),
                salience=Salience(method="gradient", share=0.7),
                weight=weight,
                psd_weight=psd_weight,
                keep_weight=keep_weight,
            )
        path = PathCurvature(weight=path_weight) if path_weight > 0 else None
        return cls(
            epsilon=epsilon,
            overshoot=1.0,
            amortised=Amortised(noise=1.0, step=1.0),
            label_smoothing=0.0,
            every=2,
            answer=SalientAnswer(weight=answer_weight) if answer_weight > 0 else None,
            path=path,
            penalty=penalty,
            schedule=schedule or Schedule(),
        )

    @property
    def passes(self) -> tuple[float, float]:
        """Forward and backward passes per image and epoch."""
        terms = [term.cost for term in (self.answer, self.path, self.penalty) if term is not None]
        forward = sum(cost.forward for cost in terms)
        backward = sum(cost.backward for cost in terms)
        if self.penalty is not None:
            backward += _THROUGH_GRADIENTS
        part = self.share / self.every
        return 2 + part * forward, 2 + part * backward

    def begin(self, image_count: int, shape: tuple[int, ...]) -> Objective:
        """Return an objective with an empty store."""
        return _Amortising(self, PerturbationStore(image_count, shape))


class _Amortising:
    """Stored perturbations of one training, and how many updates it has seen."""

    def __init__(self, recipe: AmoRecipe, store: PerturbationStore) -> None:
        self.recipe, self._store, self._updates = recipe, store, UpdateCount()
        self._views: Views | None = None

    def loss(
        self,
        model: nn.Module,
        images: Images,
        labels: Labels,
        indices: torch.Tensor,
        *,
        progress: float,
        draws: torch.Generator,
    ) -> torch.Tensor:
        recipe = self.recipe
        kept = self._store if self._views is None else ViewedPerturbations(self._store, self._views)
        with evaluating(model):
            moved = amortised_step(
                ImageLoss(model=model, labels=labels),
                images,
                indices,
                kept,
                recipe.amortised,
                epsilon=recipe.overshoot * grown(recipe.epsilon, recipe.warm_up, progress),
                bounds=recipe.bounds,
                draws=draws,
            )
        loss = cross_entropy(model(moved.images), labels, label_smoothing=recipe.label_smoothing)
        due = self._updates.take() % recipe.every == 0
        return loss + self._terms(model, images, labels, moved, progress, draws) if due else loss

    def _terms(
        self,
        model: nn.Module,
        images: Images,
        labels: Labels,
        moved: MovedImages,
        progress: float,
        draws: torch.Generator,
    ) -> torch.Tensor:
        """What is added to the loss of an update: on the first images of the batch."""
        recipe, total = self.recipe, images.new_zeros(())
        count = max(1, math.ceil(recipe.share * len(images)))
        grown_to = grown(1.0, recipe.warm_up, progress)
        if recipe.answer is not None:
            with evaluating(model):
                lost = salient_answer(
                    model,
                    images[:count],
                    moved.gradient[:count],
                    recipe.answer,
                    bounds=recipe.bounds,
                )
            total = total + grown_to * recipe.answer.weight * lost.mean()
        with penalising(model, images):
            if recipe.path is not None:
                bent = path_curvature(
                    model,
                    images[:count],
                    recipe.path,
                    epsilon=recipe.epsilon,
                    bounds=recipe.bounds,
                    draws=draws,
                )
                total = total + grown_to * recipe.path.weight * bent.mean()
            if recipe.penalty is not None:
                loss_of = ImageLoss(model=uncompiled(model), labels=labels[:count])
                scorpio = recipe.penalty.scaled(grown_to)
                found = scorpio_penalty(loss_of, images[:count], scorpio, draws=draws)
                total = total + found.penalty
        return total

    def share(self, summed: Callable[[torch.Tensor], torch.Tensor], own: torch.Tensor) -> None:
        self._store.share(summed, own)

    def see(self, views: Views | None) -> None:
        self._views = views

    def follow(self, *, further: bool) -> None:
        self._updates.further = further

    def state_dict(self) -> dict[str, Any]:
        return {"store": self._store.state_dict(), "updates": self._updates.made}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._store.load_state_dict(state["store"])
        self._updates.made = int(state["updates"])
