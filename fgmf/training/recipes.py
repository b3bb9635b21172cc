"""What is minimised: one frozen value per recipe, with its hyper-parameters.

standard   CE(f(x), y)
N-FGSM     CE(f(x'), y)                            x' = x + noise + one step
FGSM-RS    CE(f(x'), y)                            x' = x + noise + one step, projected on the cube
PGD-k      CE(f(x'), y)                            x' = where the loss is largest in the cube
TRADES     CE(f(x), y) + beta KL(p(x) || p(x'))    x' = where the divergence is largest there

The budget grows from 0 to `epsilon` over the first fifth of the training: it starts as the easy
task. Budgets and steps are in the units of `bounds`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch.nn.functional import cross_entropy, kl_div, log_softmax

from fgmf.training.perturbations import (
    Ascent,
    climb_divergence,
    climb_loss,
    noisy_step,
    projected_step,
)
from fgmf.training.schedule import (
    Schedule,
    check_counts,
    check_not_negative,
    check_positive,
    check_warm_up,
    grown,
)

if TYPE_CHECKING:
    import torch
    from torch import nn

    from fgmf.types import Bounds, Images, Labels


@dataclass(frozen=True, kw_only=True)
class StandardRecipe:
    """Cross-entropy on clean images; the baseline that is not robust.

    Cost: 1 forward and 1 backward pass per image and epoch.
    """

    bounds: Bounds = (0.0, 1.0)
    schedule: Schedule = field(default_factory=Schedule)

    @property
    def passes(self) -> tuple[int, int]:
        """Forward and backward passes per image and epoch."""
        return 1, 1

    def loss(
        self,
        model: nn.Module,
        images: Images,
        labels: Labels,
        *,
        progress: float,  # noqa: ARG002 - of the interface
        draws: torch.Generator,  # noqa: ARG002 - of the interface
    ) -> torch.Tensor:
        """Cross-entropy; see :meth:`Recipe.loss`."""
        return cross_entropy(model(images), labels)


@dataclass(frozen=True, kw_only=True)
class NFgsmRecipe:
    """Cross-entropy on images moved by noise and one step: the cheapest robust recipe.

    Attributes:
        epsilon: Budget in the units of `bounds`.
        noise: Radius of the noise over epsilon.
        step: Length of the step over epsilon.
        warm_up: Share of the training over which the budget grows.
        bounds: Range of the pixels.
        schedule: Length and speed.

    Source: de Jorge et al. (2022), who use noise 2; the defaults here, with weight averaging and
        the growing budget, are those that measured best on small networks.
    Cost: 2 forward and 2 backward passes per image and epoch.
    """

    epsilon: float
    noise: float = 1.0
    step: float = 1.0
    warm_up: float = 0.2
    bounds: Bounds = (0.0, 1.0)
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        """Refuse budgets that move nothing."""
        check_positive(self, "epsilon", "step")
        check_warm_up(self)
        check_not_negative(self, "noise")

    @property
    def passes(self) -> tuple[int, int]:
        """Forward and backward passes per image and epoch."""
        return 2, 2

    def loss(
        self,
        model: nn.Module,
        images: Images,
        labels: Labels,
        *,
        progress: float,
        draws: torch.Generator,
    ) -> torch.Tensor:
        """Cross-entropy on moved images; see :meth:`Recipe.loss`."""
        budget = grown(self.epsilon, self.warm_up, progress)
        moved = noisy_step(
            model,
            images,
            labels,
            noise=self.noise * budget,
            step=self.step * budget,
            bounds=self.bounds,
            draws=draws,
        )
        return cross_entropy(model(moved), labels)


@dataclass(frozen=True, kw_only=True)
class FgsmRsRecipe:
    """Cross-entropy on images moved by noise and one step, projected onto the cube.

    Attributes:
        epsilon: Budget in the units of `bounds`.
        step: Length of the step over epsilon.
        warm_up: Share of the training over which the budget grows.
        bounds: Range of the pixels.
        schedule: Length and speed.

    Source: Wong et al. (2020), whose step is 1.25; longer trainings by it may collapse.
    Cost: 2 forward and 2 backward passes per image and epoch.
    """

    epsilon: float
    step: float = 1.25
    warm_up: float = 0.2
    bounds: Bounds = (0.0, 1.0)
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        """Refuse budgets that move nothing."""
        check_positive(self, "epsilon", "step")
        check_warm_up(self)

    @property
    def passes(self) -> tuple[int, int]:
        """Forward and backward passes per image and epoch."""
        return 2, 2

    def loss(
        self,
        model: nn.Module,
        images: Images,
        labels: Labels,
        *,
        progress: float,
        draws: torch.Generator,
    ) -> torch.Tensor:
        """Cross-entropy on moved images; see :meth:`Recipe.loss`."""
        budget = grown(self.epsilon, self.warm_up, progress)
        ascent = Ascent(epsilon=budget, steps=1, step=self.step * budget, bounds=self.bounds)
        moved = projected_step(model, images, labels, ascent, draws=draws)
        return cross_entropy(model(moved), labels)


@dataclass(frozen=True, kw_only=True)
class PgdRecipe:
    """Cross-entropy on images moved by projected gradient ascent.

    Attributes:
        epsilon: Budget in the units of `bounds`.
        steps: Gradient steps per batch.
        step: Length of each over epsilon; None takes 2.5 / steps.
        warm_up: Share of the training over which the budget grows.
        bounds: Range of the pixels.
        schedule: Length and speed.

    Source: Madry et al. (2018).
    Cost: steps + 1 forward and backward passes per image and epoch.
    """

    epsilon: float
    steps: int = 7
    step: float | None = None
    warm_up: float = 0.2
    bounds: Bounds = (0.0, 1.0)
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        """Refuse budgets that move nothing."""
        check_positive(self, "epsilon")
        check_counts(self, "steps")
        check_warm_up(self)
        if self.step is not None:
            check_positive(self, "step")

    @property
    def passes(self) -> tuple[int, int]:
        """Forward and backward passes per image and epoch."""
        return self.steps + 1, self.steps + 1

    def loss(
        self,
        model: nn.Module,
        images: Images,
        labels: Labels,
        *,
        progress: float,
        draws: torch.Generator,
    ) -> torch.Tensor:
        """Cross-entropy on moved images; see :meth:`Recipe.loss`."""
        budget = grown(self.epsilon, self.warm_up, progress)
        ascent = Ascent(
            epsilon=budget,
            steps=self.steps,
            step=budget * (2.5 / self.steps if self.step is None else self.step),
            bounds=self.bounds,
        )
        moved = climb_loss(model, images, labels, ascent, draws=draws)
        return cross_entropy(model(moved), labels)


@dataclass(frozen=True, kw_only=True)
class TradesRecipe:
    """Clean cross-entropy, plus how far the prediction can be moved.

    Attributes:
        epsilon: Budget in the units of `bounds`.
        beta: Weight of the divergence: more is more robust and less accurate.
        steps: Gradient steps per batch.
        step: Length of each over epsilon; None takes 2.5 / steps.
        start_deviation: Of the Gaussian noise at the start, over the range of the bounds.
        warm_up: Share of the training over which the budget grows.
        bounds: Range of the pixels.
        schedule: Length and speed.

    Source: Zhang et al. (2019); the growing budget and the schedule are ours.
    Cost: steps + 3 forward and steps + 2 backward passes per image and epoch.
    """

    epsilon: float
    beta: float = 6.0
    steps: int = 7
    step: float | None = None
    start_deviation: float = 1e-3
    warm_up: float = 0.2
    bounds: Bounds = (0.0, 1.0)
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        """Refuse budgets that move nothing."""
        check_positive(self, "epsilon", "beta", "start_deviation")
        check_counts(self, "steps")
        check_warm_up(self)
        if self.step is not None:
            check_positive(self, "step")

    @property
    def passes(self) -> tuple[int, int]:
        """Forward and backward passes per image and epoch."""
        return self.steps + 3, self.steps + 2

    def loss(
        self,
        model: nn.Module,
        images: Images,
        labels: Labels,
        *,
        progress: float,
        draws: torch.Generator,
    ) -> torch.Tensor:
        """Cross-entropy and divergence; see :meth:`Recipe.loss`."""
        budget = grown(self.epsilon, self.warm_up, progress)
        ascent = Ascent(
            epsilon=budget,
            steps=self.steps,
            step=budget * (2.5 / self.steps if self.step is None else self.step),
            bounds=self.bounds,
        )
        deviation = self.start_deviation * (self.bounds[1] - self.bounds[0])
        moved = climb_divergence(model, images, ascent, start_deviation=deviation, draws=draws)
        logits = model(images)
        divergence = kl_div(
            log_softmax(model(moved), dim=1),
            log_softmax(logits, dim=1),
            reduction="batchmean",
            log_target=True,
        )
        return cross_entropy(logits, labels) + self.beta * divergence
