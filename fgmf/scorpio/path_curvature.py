"""How much the answers bend along the path on which integrated gradients are taken.

b = baseline;  a ~ U(0, 1) per image;  p = b + a (x - b)      a point of the path
d = a * noise * budget * u,  u ~ U(-1, 1) per pixel           where p moves when x is under noise
bend  = |f(p + d) + f(p - d) - 2 f(p)|^2                      second difference of the logits: d'Hd
slope = |f(p + d) - f(p - d)|^2                               first difference: 2 J d
K = mean over images of  bend / (slope + .001 (mean of slope, detached))

Integrated gradients average the gradient over the path. Where the logits are straight around the
path, the gradient there is the same under noise, and so is the explanation. Both differences are
of one direction and of the same three passes, so no gradient is differentiated: the backward pass
is a plain one, and compiled models can be trained by it. The ratio has no unit: logits that are
scaled have the same K.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from fgmf.curvature import PassCount
from fgmf.errors import InvalidInput
from fgmf.scorpio.salience import baseline_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.scorpio.salience import Baseline
    from fgmf.types import Bounds, Images, Logits

_FLOOR: Final = 1e-3
_TINY: Final = 1e-12


@dataclass(frozen=True, kw_only=True)
class PathCurvature:
    """Weight and ways of the term.

    Attributes:
        weight: Of K.
        noise: Largest displacement of a pixel of x, over the budget.
        baseline: Where the path starts: ``zero``, ``noise`` or ``blur``.

    Source: ours. Local linearity as an aim of training: Qin et al. (2019, LLR), Moosavi-Dezfooli
        et al. (2019, CURE); both look at the loss around images, and differentiate gradients.
    """

    weight: float = 0.005
    noise: float = 0.5
    baseline: Baseline = "zero"

    def __post_init__(self) -> None:
        """Refuse weights and lengths that are none.

        Raises:
            InvalidInput: A value outside its range.
        """
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise InvalidInput(f"expected a weight of at least 0, got {self.weight!r}")
        if not (math.isfinite(self.noise) and self.noise > 0):
            raise InvalidInput(f"expected noise above 0, got {self.noise!r}")
        if self.baseline not in ("zero", "noise", "blur"):
            raise InvalidInput(f"expected a baseline zero, noise, blur, got {self.baseline!r}")

    @property
    def cost(self) -> PassCount:
        """Passes, the backward one of training included."""
        return PassCount(forward=3, backward=3)


def path_curvature(
    logits_of: Callable[[Images], Logits],
    images: Images,
    chosen: PathCurvature,
    *,
    epsilon: float,
    bounds: Bounds,
    draws: torch.Generator,
) -> torch.Tensor:
    """Compute K of each image, without its weight.

    Args:
        logits_of: Maps images (n, c, h, w) to logits (n, classes), each from its own image.
        images: (n, c, h, w) within the bounds.
        chosen: Ways.
        epsilon: Budget, in the units of the bounds.
        bounds: Range of the pixels, of the noise baseline. Points may lie outside by
            `noise` times the budget: nothing is cut off, so that the two sides are even.
        draws: Gives places on the path and noise, on the CPU.

    Returns:
        (n,) at least 0, with a graph to the parameters.

    Cost: 3 forward passes, and 3 backward ones for its gradient.
    """
    start = baseline_of(images, chosen.baseline, bounds=bounds, draws=draws)
    unit = 2.0 * torch.rand(images.shape, generator=draws).to(images) - 1.0
    along = torch.rand(len(images), *[1] * (images.ndim - 1), generator=draws).to(images)
    points = start + along * (images.detach() - start)
    moved = along * chosen.noise * epsilon * unit
    # Three passes of n, not one of 3 n: each is a whole batch for those who log masks.
    up, down, middle = (logits_of(at) for at in (points + moved, points - moved, points))
    bend = (up + down - 2.0 * middle).square().sum(dim=1)
    slope = (up - down).square().sum(dim=1)
    return bend / (slope + _FLOOR * slope.detach().mean() + _TINY)
