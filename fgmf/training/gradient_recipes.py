"""Recipes that penalise what the gradient of the loss does in pixel space.

g(x) = gradient of each image's cross-entropy l at x

CURE       CE + weight mean |g(x + z) - g(x)|^2,  z = h sign(g) / |sign(g)|
LLR        CE + weight mean gamma + slope mean |d'g|,  gamma = max over d of |l(x + d) - l(x) - d'g|
penalty    CE + weight mean |g(x)|^2, or of its sum of absolute values
GradAlign  CE(x + eps sign g) + weight mean (1 - cos(g(x), g(x + u))),  u uniform in the cube

Penalties are taken in evaluation mode, each image alone, and past `torch.compile`: training
through a gradient needs second derivatives. The cross-entropy itself is taken in training
mode. A backward pass through one gradient is counted as 2, through two as 3: about what they take.
All of these can be gamed by saturation, where gradients vanish and the loss is as high as ever a
step away: examine what they train (docs/gradient-masking.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from torch.nn.functional import cosine_similarity, cross_entropy

from fgmf.curvature import ImageLoss, second_derivatives
from fgmf.errors import InvalidInput
from fgmf.training.perturbations import penalising, uncompiled, uniform_noise
from fgmf.training.schedule import (
    Schedule,
    check_counts,
    check_not_negative,
    check_positive,
    check_warm_up,
    grown,
)

if TYPE_CHECKING:
    from torch import nn

    from fgmf.types import Bounds, Images, Labels

_TINY = 1e-30


def losses_and_gradient(
    loss_of: ImageLoss, images: Images, *, differentiable: bool
) -> tuple[torch.Tensor, Images]:
    """Losses (n,) and their gradient (n, c, h, w), with a graph to the parameters if wanted.

    Cost: 1 forward and 1 backward pass.
    """
    at = images.detach().clone().requires_grad_()
    with torch.enable_grad(), second_derivatives():
        losses = loss_of(at)
        (gradient,) = torch.autograd.grad(losses.sum(), at, create_graph=differentiable)
    return losses, gradient


@dataclass(frozen=True, kw_only=True)
class CureRecipe:
    """Clean cross-entropy, and how much the gradient changes along its own sign.

    Attributes:
        weight: Of the penalty.
        length: h, the L2 length of z in the units of `bounds`.
        warm_up: Share of the training over which h grows from 0.
        bounds: Range of the pixels.
        schedule: Length and speed.

    Source: Moosavi-Dezfooli et al. (2019), CURE, whose paper squares the norm; its weight 4 and h
        1.5 (CIFAR-10) are the defaults. The published accuracy was not confirmed by AutoAttack.
    Cost: 3 forward passes; 2 gradients, the backward pass of the loss, one through two gradients.
    """

    weight: float = 4.0
    length: float = 1.5
    warm_up: float = 0.2
    bounds: Bounds = (0.0, 1.0)
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        """Refuse what penalises nothing."""
        check_positive(self, "weight", "length")
        check_warm_up(self)

    @property
    def passes(self) -> tuple[float, float]:
        """Forward and backward passes per image and epoch."""
        return 3, 2 + 1 + 3

    def loss(
        self,
        model: nn.Module,
        images: Images,
        labels: Labels,
        *,
        progress: float,
        draws: torch.Generator,  # noqa: ARG002 - of the interface
    ) -> torch.Tensor:
        """Cross-entropy and penalty; see :meth:`fgmf.training.Recipe.loss`."""
        clean = cross_entropy(model(images), labels)
        with penalising(model, images):
            loss_of = ImageLoss(model=uncompiled(model), labels=labels)
            _, here = losses_and_gradient(loss_of, images, differentiable=True)
            signs = here.detach().sign()
            norms = signs.flatten(1).norm(dim=1).clamp(min=1.0).view(-1, 1, 1, 1)
            moved = images + grown(self.length, self.warm_up, progress) * signs / norms
            _, there = losses_and_gradient(loss_of, moved, differentiable=True)
        return clean + self.weight * (there - here).flatten(1).square().sum(dim=1).mean()


@dataclass(frozen=True, kw_only=True)
class GradientPenaltyRecipe:
    """Clean cross-entropy, and the size of its gradient.

    Attributes:
        weight: Of the penalty.
        norm: ``l2-squared``, or ``l1``: the rise of a linear loss within a budget of 1 in Linf.
        warm_up: Share of the training over which the weight grows from 0.
        bounds: Range of the pixels.
        schedule: Length and speed.

    Source: Drucker and LeCun (1992); Ross and Doshi-Velez (2018).
    Cost: 2 forward passes; 1 gradient, the backward pass of the loss, one through a gradient.
    """

    weight: float = 10.0
    norm: Literal["l2-squared", "l1"] = "l2-squared"
    warm_up: float = 0.2
    bounds: Bounds = (0.0, 1.0)
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        """Refuse what penalises nothing."""
        check_positive(self, "weight")
        check_warm_up(self)
        if self.norm not in ("l2-squared", "l1"):
            raise InvalidInput(f"expected norm l2-squared or l1, got {self.norm!r}")

    @property
    def passes(self) -> tuple[float, float]:
        """Forward and backward passes per image and epoch."""
        return 2, 1 + 1 + 2

    def loss(
        self,
        model: nn.Module,
        images: Images,
        labels: Labels,
        *,
        progress: float,
        draws: torch.Generator,  # noqa: ARG002 - of the interface
    ) -> torch.Tensor:
        """Cross-entropy and penalty; see :meth:`fgmf.training.Recipe.loss`."""
        clean = cross_entropy(model(images), labels)
        with penalising(model, images):
            loss_of = ImageLoss(model=uncompiled(model), labels=labels)
            _, gradient = losses_and_gradient(loss_of, images, differentiable=True)
        pixels = gradient.square() if self.norm == "l2-squared" else gradient.abs()
        weight = grown(self.weight, self.warm_up, progress)
        return clean + weight * pixels.flatten(1).sum(dim=1).mean()


@dataclass(frozen=True, kw_only=True)
class GradAlignRecipe:
    """One-step adversarial training whose gradients are kept alike within the cube.

    Attributes:
        epsilon: Budget in the units of `bounds`.
        weight: Of the misalignment.
        step: Length of the one step over epsilon.
        warm_up: Share of the training over which the budget grows.
        bounds: Range of the pixels.
        schedule: Length and speed.

    Source: Andriushchenko and Flammarion (2020); as there, the gradient at the clean image is a
        constant, and only the one beside it is trained through.
    Cost: 3 forward passes; 2 gradients, the backward pass of the loss, one through a gradient.
    """

    epsilon: float
    weight: float = 0.2
    step: float = 1.0
    warm_up: float = 0.2
    bounds: Bounds = (0.0, 1.0)
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        """Refuse budgets that move nothing."""
        check_positive(self, "epsilon", "weight", "step")
        check_warm_up(self)

    @property
    def passes(self) -> tuple[float, float]:
        """Forward and backward passes per image and epoch."""
        return 3, 2 + 1 + 2

    def loss(
        self,
        model: nn.Module,
        images: Images,
        labels: Labels,
        *,
        progress: float,
        draws: torch.Generator,
    ) -> torch.Tensor:
        """Cross-entropy and misalignment; see :meth:`fgmf.training.Recipe.loss`."""
        budget = grown(self.epsilon, self.warm_up, progress)
        with penalising(model, images):
            loss_of = ImageLoss(model=uncompiled(model), labels=labels)
            _, here = losses_and_gradient(loss_of, images, differentiable=False)
            beside = images + uniform_noise(images, budget, draws)
            _, there = losses_and_gradient(loss_of, beside, differentiable=True)
        alike = cosine_similarity(here.flatten(1), there.flatten(1), dim=1, eps=_TINY)
        moved = (images + self.step * budget * here.sign()).clamp(*self.bounds)
        return cross_entropy(model(moved), labels) + self.weight * (1.0 - alike).mean()


@dataclass(frozen=True, kw_only=True)
class LlrRecipe:
    """Clean cross-entropy, and how far the loss is from its tangent within the budget.

    Attributes:
        epsilon: Budget in the units of `bounds`.
        weight: Of the distance from the tangent, at the point where it is largest.
        slope: Of the rise of the tangent there.
        steps: Gradient steps towards that point.
        warm_up: Share of the training over which the budget grows.
        bounds: Range of the pixels.
        schedule: Length and speed.

    Source: Qin et al. (2019), LLR, with its weights 4 and 3; sign steps of 2.5 / steps from a
        random point of the cube are ours.
    Cost: steps + 3 forward passes; steps + 1 gradients, the backward passes of two losses, one
        through a gradient.
    """

    epsilon: float
    weight: float = 4.0
    slope: float = 3.0
    steps: int = 2
    warm_up: float = 0.2
    bounds: Bounds = (0.0, 1.0)
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        """Refuse budgets that move nothing."""
        check_positive(self, "epsilon", "weight")
        check_not_negative(self, "slope")
        check_counts(self, "steps")
        check_warm_up(self)

    @property
    def passes(self) -> tuple[float, float]:
        """Forward and backward passes per image and epoch."""
        return self.steps + 3, self.steps + 1 + 2 + 2

    def loss(
        self,
        model: nn.Module,
        images: Images,
        labels: Labels,
        *,
        progress: float,
        draws: torch.Generator,
    ) -> torch.Tensor:
        """Cross-entropy and non-linearity; see :meth:`fgmf.training.Recipe.loss`."""
        clean = cross_entropy(model(images), labels)
        budget = grown(self.epsilon, self.warm_up, progress)
        with penalising(model, images):
            loss_of = ImageLoss(model=uncompiled(model), labels=labels)
            losses, gradient = losses_and_gradient(loss_of, images, differentiable=True)
            tangent = losses.detach(), gradient.detach()
            start = uniform_noise(images, budget, draws)
            moved = self._farthest(loss_of, images, tangent, start, budget)
            there = loss_of(images + moved)
        rise = (moved * gradient).flatten(1).sum(dim=1)
        gap = (there - losses - rise).abs().mean()
        return clean + self.weight * gap + self.slope * rise.abs().mean()

    def _farthest(
        self,
        loss_of: ImageLoss,
        images: Images,
        tangent: tuple[torch.Tensor, Images],
        moved: Images,
        budget: float,
    ) -> Images:
        """Climb |l(x + d) - l(x) - d'g| within the cube and the bounds, from `moved`."""
        losses, gradient = tangent
        low, high = (bound - images for bound in self.bounds)
        moved = moved.clamp(low, high)
        for _ in range(self.steps):
            at = moved.clone().requires_grad_()
            gap = loss_of(images + at) - losses - (at * gradient).flatten(1).sum(dim=1)
            (uphill,) = torch.autograd.grad(gap.abs().sum(), at)
            moved = (moved + 2.5 / self.steps * budget * uphill.sign()).clamp(-budget, budget)
            moved = moved.clamp(low, high).detach()
        return moved
