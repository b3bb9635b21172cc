"""The five criteria by which the PGCA paper compares explainers, each in [0, 1], higher is better.

    fidelity          mean loss of p when the highest 20 % of the pixels are replaced, over two
                      replacements (mean, blur), 0 where p rises
    interpretability  mean of concentration (Gini of |A|), coherence (correlation of A with the
                      mean of its neighbours) and contrast (how far the highest fifth of |A|
                      stands above the rest)
    robustness        mean cosine of A(x) and A(x + noise)
    fairness          1 - Jensen-Shannon divergence of the groups' mean normalised |A|, base 2,
                      relative to its largest value log2(groups)
    completeness      share of p that is lost when every pixel with |A| above half of its largest
                      is replaced by the mean

p is the probability of the explained class.

Source: arXiv 2412.03884 names the criteria; the formulas are a reconstruction. Fairness says only
that maps of different groups look alike: groups whose objects look different score low with every
sound explainer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad

from fgmf.attribution.images import gaussian_blur
from fgmf.attribution.passes import Variants, ask_scores

if TYPE_CHECKING:
    from fgmf.attribution.request import Request
    from fgmf.types import Images

CRITERIA = ("fidelity", "interpretability", "robustness", "fairness", "completeness")
TOP_SHARE = 0.2
NOISE_SHARE = 0.02
"""Deviation of the noise for robustness, as a share of the bounds' range: not to be seen."""
_BLUR_SHARE = 0.125
_HIGH = 0.5


@dataclass(frozen=True, kw_only=True)
class Explained:
    """Maps of one explainer for the images of a request.

    Attributes:
        maps: (n, h, w) float64.
        noisy_maps: (n, h, w) of the same images under a little noise.
        groups: (n,) int64, which group an image belongs to.
    """

    maps: torch.Tensor
    noisy_maps: torch.Tensor
    groups: torch.Tensor


def criteria_of(request: Request, explained: Explained) -> dict[str, float]:
    """Score maps on all five criteria.

    Cost: 4 forward passes per image. Randomness: none.
    """
    maps = explained.maps
    ranked = maps.flatten(1).argsort(dim=1, descending=True)
    count = max(1, round(TOP_SHARE * ranked.shape[1]))
    top = torch.zeros_like(maps.flatten(1), dtype=torch.bool)
    top.scatter_(1, ranked[:, :count], value=True)
    size = maps.abs()
    largest = size.amax(dim=(1, 2), keepdim=True)
    high = (size > _HIGH * largest) & (largest > 0)
    clean, without_mean, without_blur, without_high = _probabilities(
        request, top.reshape(maps.shape), high
    )
    lost = ((clean - without_mean).clamp_min(0) + (clean - without_blur).clamp_min(0)) / 2
    complete = (1 - without_high / clean.clamp_min(1e-12)).clamp(0, 1)
    return {
        "fidelity": float(lost.mean()),
        "interpretability": float(interpretability(maps).mean()),
        "robustness": float(_cosine(maps, explained.noisy_maps).clamp_min(0).mean()),
        "fairness": fairness(maps, explained.groups),
        "completeness": float(complete.mean()),
    }


def interpretability(maps: torch.Tensor) -> torch.Tensor:
    """Mean of concentration, coherence and contrast: (n,) in [0, 1], 0 for a constant map."""
    size = maps.abs().flatten(1)
    ordered = size.sort(dim=1).values
    pixels = ordered.shape[1]
    rank = torch.arange(1, pixels + 1, dtype=maps.dtype)
    total = ordered.sum(dim=1)
    safe = total.where(total > 0, 1.0)
    gini = 2 * (ordered * rank).sum(dim=1) / (pixels * safe) - (pixels + 1) / pixels
    cut = pixels - max(1, round(TOP_SHARE * pixels))
    above, below = ordered[:, cut:].mean(dim=1), ordered[:, :cut].mean(dim=1)
    both = above + below
    contrast = (above - below) / both.where(both > 0, 1.0)
    varied = (maps.flatten(1).amax(dim=1) > maps.flatten(1).amin(dim=1)).to(maps)
    return varied * (gini.clamp(0, 1) + coherence(maps).clamp_min(0) + contrast) / 3


def coherence(maps: torch.Tensor) -> torch.Tensor:
    """Pearson's r of each map with the mean of its four neighbours: (n,); 0 where flat."""
    padded = pad(maps[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    around = (
        padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    ) / 4
    left, right = (m.flatten(1) - m.flatten(1).mean(dim=1, keepdim=True) for m in (maps, around))
    return _cosine(left, right)


def fairness(maps: torch.Tensor, groups: torch.Tensor) -> float:
    """1 less the divergence of the groups' mean maps, relative to the largest there can be."""
    size = maps.abs().flatten(1)
    total = size.sum(dim=1, keepdim=True)
    shares = torch.where(total > 0, size / total.where(total > 0, 1.0), 1 / size.shape[1])
    means = torch.stack([shares[groups == group].mean(dim=0) for group in groups.unique()])
    if len(means) < 2:
        return 1.0
    whole = _entropy(means.mean(dim=0))
    divergence = whole - torch.stack([_entropy(mean) for mean in means]).mean()
    return float((1 - divergence / torch.tensor(len(means)).log2()).clamp(0, 1))


def _entropy(shares: torch.Tensor) -> torch.Tensor:
    """In bits."""
    return -torch.where(shares > 0, shares * shares.clamp_min(1e-300).log2(), 0.0).sum()


def _cosine(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    a, b = left.flatten(1), right.flatten(1)
    scale = a.norm(dim=1) * b.norm(dim=1)
    return torch.where(scale > 0, (a * b).sum(dim=1) / scale.where(scale > 0, 1.0), 0.0)


def _probabilities(request: Request, top: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """(4, n): of the image, without its top by mean and by blur, without what is high."""
    images = request.images
    mean = images.mean(dim=(2, 3), keepdim=True).expand_as(images)
    blurred = gaussian_blur(images, _BLUR_SHARE * min(images.shape[2:]))
    top, high = (mask[:, None].to(images.device) for mask in (top, high))
    table = torch.stack(
        [
            images,
            torch.where(top, mean, images),
            torch.where(top, blurred, images),
            torch.where(high, mean, images),
        ]
    )

    def make(image: torch.Tensor, number: torch.Tensor) -> Images:
        return table[number, image]

    return ask_scores(request, Variants(count=4, make=make), output="probability").T
