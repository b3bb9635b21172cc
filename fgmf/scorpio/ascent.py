"""Where a quadratic model of the loss is largest inside the budget: Frank-Wolfe.

Q(d) = g'd + d'Hd/2,  |d| <= epsilon;  toward(q) = epsilon sign(q)  (L2: epsilon q/|q|)
    d = toward(g)
    for k in 0..K-1:  q = g + H d                       exact: Hessian-vector product
                          g(x + h d) / h + (1 - 1/h) g  secant: (g(x + h d) - g) / h for H d
                      d = (1 - c) d + c toward(q),  c = 2 / (k + 2)
with a region: toward(q) is zero outside;  with bounds: x + d is kept within them

Secant with h = 1 is Frank-Wolfe on the loss itself: q = g(x + d).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from fgmf.curvature import InputCurvature
    from fgmf.types import Bounds, Images

BallNorm: TypeAlias = Literal["linf", "l2"]


@dataclass(frozen=True, kw_only=True)
class QuadraticAscent:
    """Budget and effort.

    Attributes:
        epsilon: Radius of the ball, in the units of the images.
        norm: ``linf`` or ``l2``.
        steps: K; 0 takes the first guess, which costs the gradient alone.
        bounds: Range that moved images stay in; None for no range.

    Source: SCORPIO (arXiv 2009.04923): quadratic model, iterative scheme, Hessian-vector products.
        The step rule 2 / (k + 2) and the first guess are our reconstruction.
    """

    epsilon: float
    norm: BallNorm = "linf"
    steps: int = 1
    bounds: Bounds | None = None

    def __post_init__(self) -> None:
        """Refuse what moves nothing.

        Raises:
            InvalidInput: A value outside its range.
        """
        if not (math.isfinite(self.epsilon) and self.epsilon > 0):
            raise InvalidInput(f"expected epsilon above 0, got {self.epsilon!r}")
        if self.norm not in ("linf", "l2"):
            raise InvalidInput(f"expected norm linf or l2, got {self.norm!r}")
        if self.steps < 0:
            raise InvalidInput(f"expected steps of at least 0, got {self.steps!r}")


def climb_quadratic(
    curvature: InputCurvature, ascent: QuadraticAscent, *, region: torch.Tensor | None = None
) -> Images:
    """Move images to where the quadratic model of their loss is large.

    Args:
        curvature: Of the losses at the images; its mode says whether steps are exact or secant.
        ascent: Budget and number of steps.
        region: (n, 1, h, w) or (n, c, h, w) bool: pixels that may move; None for all.

    Returns:
        Displacements d (n, c, h, w), |d| <= epsilon, without gradient.

    Cost: the gradient, and `steps` products.
    """
    images, gradient = curvature.images, curvature.gradient.detach()

    def toward(q: Images) -> Images:
        q = q if region is None else q * region
        return _within(images, _farthest(q, ascent), ascent)

    moved = toward(gradient)
    for k in range(ascent.steps):
        uphill = gradient + curvature.plain_product(moved)
        share = 2.0 / (k + 2.0)
        moved = (1.0 - share) * moved + share * toward(uphill)
    return moved


def _farthest(q: Images, ascent: QuadraticAscent) -> Images:
    """The point of the ball that is farthest along q; zero where q is."""
    if ascent.norm == "linf":
        return ascent.epsilon * q.sign()
    length = q.flatten(1).norm(dim=1).view([-1] + [1] * (q.ndim - 1))
    usable = length > torch.finfo(q.dtype).tiny
    return torch.where(usable, ascent.epsilon * q / torch.where(usable, length, 1.0), 0.0)


def _within(images: Images, moved: Images, ascent: QuadraticAscent) -> Images:
    if ascent.bounds is None:
        return moved
    return (images + moved).clamp(*ascent.bounds) - images
