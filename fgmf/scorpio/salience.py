"""Which pixels matter to the loss, and a top share of them that has the size it says.

scores, (n, c, h, w), signed:
    gradient              g(x)
    gradient-times-input  g(x) * (x - baseline), baseline 0
    integrated-gradients  (x - x0) * mean_j g(x0 + (j - 1/2)/k (x - x0))     k steps, midpoints
        x0: zero, noise (uniform in the bounds) or blur (of the image)
salient region, (n, 1, h, w): the k = round(share h w) pixels with the largest |score|, summed over
    channels; ties are broken by a fixed shuffle of the places, never by taking all of them

A zero baseline, and gradient times input, can never choose a black pixel, which an attacker can use
all the same: half of Fashion-MNIST is black.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import torch
from torch.nn.functional import conv2d, pad

from fgmf.curvature import PassCount
from fgmf.errors import InvalidInput, NonFiniteOutput

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.types import Bounds, Images

    LossOfImages: TypeAlias = Callable[[Images], torch.Tensor]

SalienceMethod: TypeAlias = Literal["gradient", "gradient-times-input", "integrated-gradients"]
Baseline: TypeAlias = Literal["zero", "noise", "blur"]

_SHUFFLE_SEED: Final = 20_090_4923
_BLUR_SIDE: Final = 7


@dataclass(frozen=True, kw_only=True)
class Salience:
    """How salient pixels are found.

    Attributes:
        method: ``gradient``, ``gradient-times-input`` or ``integrated-gradients``.
        baseline: Of integrated gradients: ``zero``, ``noise`` or ``blur``.
        steps: Of integrated gradients: gradients on the path.
        share: Of the pixels that count as salient, above 0 up to 1.

    Source: Sundararajan et al. (2017), integrated gradients. The document says "the most salient
        gradient directions identified by Integrated Gradients"; few steps, baselines and the
        share are our reconstruction.
    """

    method: SalienceMethod = "integrated-gradients"
    baseline: Baseline = "noise"
    steps: int = 2
    share: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what finds nothing.

        Raises:
            InvalidInput: A value outside its range.
        """
        methods = ("gradient", "gradient-times-input", "integrated-gradients")
        if self.method not in methods:
            raise InvalidInput(f"expected a method of {', '.join(methods)}, got {self.method!r}")
        if self.baseline not in ("zero", "noise", "blur"):
            raise InvalidInput(f"expected a baseline zero, noise, blur, got {self.baseline!r}")
        if self.steps < 1:
            raise InvalidInput(f"expected at least 1 of steps, got {self.steps!r}")
        if not 0.0 < self.share <= 1.0:
            raise InvalidInput(f"expected a share above 0, up to 1, got {self.share!r}")

    @property
    def cost(self) -> PassCount:
        """Passes beyond the gradient at the images."""
        count = self.steps if self.method == "integrated-gradients" else 0
        return PassCount(forward=count, backward=count)


def salience_scores(
    loss_of: LossOfImages,
    images: Images,
    gradient: Images,
    salience: Salience,
    *,
    bounds: Bounds,
    draws: torch.Generator,
) -> Images:
    """Score every pixel of every image, with its sign.

    Args:
        loss_of: Maps images to losses (n,).
        images: (n, c, h, w) within the bounds.
        gradient: Of the losses at `images`, which is there already.
        salience: Method.
        bounds: Range of the pixels, of the noise baseline.
        draws: Gives the noise baseline, on the CPU.

    Returns:
        (n, c, h, w), without gradient. Integrated gradients sum up to the loss less the loss at
        the baseline, but for the error of few steps.

    Cost: `salience.cost`.
    """
    if salience.method == "gradient":
        return gradient.detach()
    if salience.method == "gradient-times-input":
        return (gradient * images).detach()
    path = images - baseline_of(images, salience.baseline, bounds=bounds, draws=draws)
    total = torch.zeros_like(images)
    for j in range(salience.steps):
        ahead = (salience.steps - j - 0.5) / salience.steps
        total += _slope(loss_of, images - ahead * path)
    return path * total / salience.steps


def baseline_of(
    images: Images, baseline: Baseline, *, bounds: Bounds, draws: torch.Generator
) -> Images:
    """Where the path of integrated gradients starts: (n, c, h, w), without gradient."""
    plain = images.detach()
    if baseline == "zero":
        return torch.zeros_like(plain)
    if baseline == "noise":
        noise = torch.rand(plain.shape, generator=draws, dtype=plain.dtype).to(plain.device)
        return bounds[0] + (bounds[1] - bounds[0]) * noise
    return _blurred(plain)


def salient_region(scores: torch.Tensor, share: float) -> torch.Tensor:
    """Choose the pixels with the largest scores.

    Args:
        scores: (n, c, h, w); magnitudes are summed over channels.
        share: Of the pixels, above 0 up to 1.

    Returns:
        (n, 1, h, w) bool, with exactly max(1, round(share h w)) pixels of each image, however
        many scores are equal.

    Raises:
        InvalidInput: A share that is none.
        NonFiniteOutput: A score is NaN or infinite.
    """
    if not 0.0 < share <= 1.0:
        raise InvalidInput(f"expected a share above 0, up to 1, got {share!r}")
    if not bool(scores.isfinite().all()):
        raise NonFiniteOutput("expected finite scores, got NaN or infinity; check the logits")
    ranks = scores.detach().abs().sum(dim=1).flatten(1)
    pixels = ranks.shape[1]
    count = max(1, round(share * pixels))
    shuffle = torch.randperm(pixels, generator=torch.Generator().manual_seed(_SHUFFLE_SEED))
    shuffle = shuffle.to(ranks.device)
    best = ranks[:, shuffle].argsort(dim=1, descending=True, stable=True)[:, :count]
    region = torch.zeros_like(ranks, dtype=torch.bool)
    region.scatter_(1, shuffle[best], value=True)
    sizes = region.sum(dim=1)
    if not bool((sizes == count).all()):
        raise InvalidInput(
            f"expected {count} salient pixels per image, got {int(sizes.min())}-{int(sizes.max())}"
        )
    return region.view(len(scores), 1, *scores.shape[2:])


def _slope(loss_of: LossOfImages, at: Images) -> Images:
    at = at.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(loss_of(at).sum(), at)
    return gradient


def _blurred(images: Images) -> Images:
    """A box of 7 x 7 pixels (less on smaller images), with edges repeated."""
    side = min(_BLUR_SIDE, 2 * ((min(images.shape[2:]) - 1) // 2) + 1)
    padding = side // 2
    channels = images.shape[1]
    box = images.new_full((channels, 1, side, side), 1.0 / math.prod((side, side)))
    padded = pad(images, (padding,) * 4, mode="replicate")
    return conv2d(padded, box, groups=channels)
