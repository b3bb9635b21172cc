"""How far an answer moves when only the salient pixels of its image are left.

g = gradient of the loss at, or near, the image: the refresh of its stored perturbation has it
S = the share of the pixels with the largest |g|                                    tie-safe
z = the image on S, the lower bound of the pixels outside
D = KL(softmax f(image) || softmax f(z))                          through both answers

A network that answers by the pixels that its gradient names loses its answer soon when they are
taken away and late when others are: that is what deletion measures of an explanation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import kl_div, log_softmax

from fgmf.curvature import PassCount
from fgmf.errors import InvalidInput
from fgmf.scorpio.salience import salient_region

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.types import Bounds, Images, Logits


@dataclass(frozen=True, kw_only=True)
class SalientAnswer:
    """Weight of the term, and how much of an image is left.

    Attributes:
        weight: Of D.
        kept: Share of the pixels that stay, above 0 and below 1.

    Source: saliency-guided training (Ismail et al. 2021), which drops pixels of clean images for
        noise and pays a gradient of its own for it. That the gradient is the one of an adversarial
        step, and that what is dropped becomes black, is ours.
    """

    weight: float = 1.0
    kept: float = 0.5

    def __post_init__(self) -> None:
        """Refuse weights and shares that are none.

        Raises:
            InvalidInput: A value outside its range.
        """
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise InvalidInput(f"expected a weight of at least 0, got {self.weight!r}")
        if not 0.0 < self.kept < 1.0:
            raise InvalidInput(f"expected kept between 0 and 1, got {self.kept!r}")

    @property
    def cost(self) -> PassCount:
        """Passes, the backward one of training included."""
        return PassCount(forward=2, backward=2)


def salient_answer(
    logits_of: Callable[[Images], Logits],
    images: Images,
    gradient: Images,
    chosen: SalientAnswer,
    *,
    bounds: Bounds,
) -> torch.Tensor:
    """Compute D of each image, without its weight.

    Args:
        logits_of: Maps images (n, c, h, w) to logits (n, classes), each from its own image.
        images: (n, c, h, w) within the bounds.
        gradient: Of the losses, (n, c, h, w): what is salient.
        chosen: How much is left.
        bounds: Range of the pixels; the lower one is what is put in.

    Returns:
        (n,) at least 0 but for rounding, with a graph to the parameters.

    Raises:
        NonFiniteOutput: A gradient is NaN or infinite.

    Cost: 2 forward passes, and 2 backward ones for its gradient.
    """
    region = salient_region(gradient, chosen.kept)
    whole = images.detach()
    # Two passes of n, not one of 2 n: each is a whole batch for those who log masks.
    answers = log_softmax(logits_of(whole), dim=1)
    left = log_softmax(logits_of(torch.where(region, whole, bounds[0])), dim=1)
    return kl_div(left, answers, reduction="none", log_target=True).sum(dim=1)
