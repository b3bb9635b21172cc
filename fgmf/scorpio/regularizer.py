"""The SCORPIO penalty (v1), and SCOR-PIO 2.0 with salience, exploitability and curvature.

g = g(x);  S = salient region of x, all pixels in v1
d = where the quadratic model of the loss is largest, within S            climb_quadratic, detached
g+ = g(x + d);  rise_i = d_i (g_i + g+_i) / 2                             trapezoid, pixel by pixel
E = pixels of S with rise_i > 0: along these the loss really rises        all pixels in v1
R = sum over E of rise_i                                                  v1: ~ l(x + d) - l(x)
P = relu(-d'(g+ - g) / d'd)                                               negative curvature
A = 1 - cos(g on S, g+ on S), g detached                                  the explanation stays
penalty = mean over images of  weight R + psd_weight P + keep_weight A

The penalised directions are detached: theta learns through g and g+. Pixels outside E, and the
salient ones that hold the loss down, are not penalised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

import torch
from torch.nn.functional import cosine_similarity

from fgmf.curvature import InputCurvature, PassCount
from fgmf.errors import InvalidInput
from fgmf.scorpio.ascent import QuadraticAscent, climb_quadratic
from fgmf.scorpio.salience import Salience, salience_scores, salient_region

if TYPE_CHECKING:
    from fgmf.scorpio.salience import LossOfImages
    from fgmf.types import Bounds, Images

_TINY: Final = 1e-30


@dataclass(frozen=True, kw_only=True)
class Scorpio:
    """Weights and ways of the penalty; the defaults are SCOR-PIO 2.0's.

    Attributes:
        ascent: Budget and steps; its bounds are also those of noise baselines ([0, 1] if None).
        mode: ``finite-difference`` (secant) or ``double-backward`` (exact) products in the ascent.
        secant_step: h of the secant.
        salience: How salient pixels are found; None takes all pixels (v1).
        exploitable_only: Penalise only pixels along which the loss rises.
        weight: Of R.
        psd_weight: Of the penalty on negative curvature; 0 leaves it out.
        keep_weight: Of the term that keeps the explanation on salient pixels; 0 leaves it out.

    Source: SCORPIO (arXiv 2009.04923) for the quadratic model and products; the document for
        salience by Integrated Gradients, exploitable directions, preserved components, and a
        locally positive semi-definite Hessian. How these become R, E, P and A is our
        reconstruction.
    """

    ascent: QuadraticAscent
    mode: Literal["finite-difference", "double-backward"] = "finite-difference"
    secant_step: float = 1.0
    salience: Salience | None = field(default_factory=Salience)
    exploitable_only: bool = True
    weight: float = 1.0
    psd_weight: float = 0.0
    keep_weight: float = 0.0

    def __post_init__(self) -> None:
        """Refuse weights and steps that are none.

        Raises:
            InvalidInput: A value outside its range.
        """
        for name in ("weight", "psd_weight", "keep_weight"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InvalidInput(f"expected {name} of at least 0, got {value!r}")
        if self.mode not in ("finite-difference", "double-backward"):
            raise InvalidInput(
                f"expected mode finite-difference or double-backward, got {self.mode!r}"
            )
        if not (math.isfinite(self.secant_step) and self.secant_step > 0):
            raise InvalidInput(f"expected secant_step above 0, got {self.secant_step!r}")

    @classmethod
    def v1(cls, ascent: QuadraticAscent, *, weight: float = 1.0) -> Scorpio:
        """SCORPIO as published: all pixels, finite differences, no further term."""
        return cls(ascent=ascent, salience=None, exploitable_only=False, weight=weight)

    @property
    def cost(self) -> PassCount:
        """Passes to compute the penalty; its own backward pass comes on top."""
        each = PassCount(forward=1, backward=1) if self._secant else PassCount(backward=1)
        found = PassCount(forward=2, backward=2)  # g and g+
        for _ in range(self.ascent.steps):
            found += each
        return found if self.salience is None else found + self.salience.cost

    def scaled(self, share: float) -> Scorpio:
        """The same with `share` of the budget: for budgets that grow during training."""
        grown = replace(self.ascent, epsilon=max(share * self.ascent.epsilon, 1e-12))
        return replace(self, ascent=grown)

    @property
    def _secant(self) -> bool:
        return self.mode == "finite-difference"


@dataclass(frozen=True, kw_only=True, eq=False)
class ScorpioPenalty:
    """The penalty of one batch and its parts.

    Attributes:
        penalty: Scalar with a graph to the parameters.
        rise: (n,) R of each image, detached.
        negative_curvature: (n,) P, detached; zero where it is left out.
        drift: (n,) A, detached; zero where it is left out.
        displacement: (n, c, h, w) d.
        region: (n, 1, h, w) bool S.
        losses: (n,) l(x) from the pass that gave g, with its graph: the loss needs no other.
        cost: Passes spent.
    """

    penalty: torch.Tensor
    rise: torch.Tensor
    negative_curvature: torch.Tensor
    drift: torch.Tensor
    displacement: Images
    region: torch.Tensor
    losses: torch.Tensor
    cost: PassCount


def scorpio_penalty(
    loss_of: LossOfImages, images: Images, scorpio: Scorpio, *, draws: torch.Generator
) -> ScorpioPenalty:
    """Compute the penalty of a batch.

    Args:
        loss_of: Maps images to losses (n,), each from its own image alone.
        images: (n, c, h, w).
        scorpio: Weights and ways.
        draws: Gives noise baselines, on the CPU.

    Returns:
        The penalty, with what it is made of.

    Raises:
        GradientUnavailable: Training through gradients needs second derivatives, which compiled
            models do not have.

    Cost: `scorpio.cost`; the backward pass of the result goes through two gradients.
    """
    here = InputCurvature(
        loss_of, images, mode=scorpio.mode, step=scorpio.secant_step, differentiable=True
    )
    plain = here.gradient.detach()
    region, spent = _region(loss_of, images, plain, scorpio, draws)
    moved = climb_quadratic(here, scorpio.ascent, region=region)
    there = InputCurvature(loss_of, images + moved, differentiable=True)
    parts = _parts(here.gradient, there.gradient, moved, region, scorpio)
    weighted = (
        scorpio.weight * parts["rise"]
        + scorpio.psd_weight * parts["negative"]
        + scorpio.keep_weight * parts["drift"]
    )
    return ScorpioPenalty(
        penalty=weighted.mean(),
        rise=parts["rise"].detach(),
        negative_curvature=parts["negative"].detach(),
        drift=parts["drift"].detach(),
        displacement=moved,
        region=region,
        losses=here.losses,
        cost=here.cost + there.cost + spent,
    )


def _region(
    loss_of: LossOfImages,
    images: Images,
    gradient: Images,
    scorpio: Scorpio,
    draws: torch.Generator,
) -> tuple[torch.Tensor, PassCount]:
    if scorpio.salience is None:
        everything = torch.ones_like(images[:, :1], dtype=torch.bool)
        return everything, PassCount()
    bounds: Bounds = scorpio.ascent.bounds or (0.0, 1.0)
    scores = salience_scores(
        loss_of, images, gradient, scorpio.salience, bounds=bounds, draws=draws
    )
    return salient_region(scores, scorpio.salience.share), scorpio.salience.cost


def _parts(
    here: Images, there: Images, moved: Images, region: torch.Tensor, scorpio: Scorpio
) -> dict[str, torch.Tensor]:
    """R, P and A of each image, (n,) each."""
    pixels = moved * (here + there) / 2.0
    if scorpio.exploitable_only:
        pixels = pixels * (pixels.detach() > 0)
    none = torch.zeros(len(moved), dtype=moved.dtype, device=moved.device)
    found = {"rise": pixels.flatten(1).sum(dim=1), "negative": none, "drift": none}
    if scorpio.psd_weight > 0:
        length = moved.square().flatten(1).sum(dim=1)
        bend = (moved * (there - here)).flatten(1).sum(dim=1)
        found["negative"] = (-bend).relu() / length.clamp(min=torch.finfo(length.dtype).tiny)
    if scorpio.keep_weight > 0:
        kept, new = (here.detach() * region).flatten(1), (there * region).flatten(1)
        found["drift"] = 1.0 - cosine_similarity(kept, new, dim=1, eps=_TINY)
    return found
