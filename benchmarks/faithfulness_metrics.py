"""How much a map knows of a model: deletion, insertion, gap and faithfulness correlation.

    p(x) = probability of the class that the model predicts for the clean image
    deletion     p(x) less the mean of p while pixels go, the highest of the map first
    insertion    the mean of p while they come, the highest first, on what replaces pixels
    gap          p(x) less p when the highest 20 % are gone
    correlation  over random sets of 20 % of the pixels: Pearson's r between the sum of the map in
                 the set and what p loses when the set goes

All are better when higher. Equal values are ordered at random, the same for every explainer. The
random sets and the noise that replaces pixels are the benchmark's own and no explainer's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import avg_pool2d, interpolate

from fgmf.attribution.images import gaussian_blur, mean_and_deviation

if TYPE_CHECKING:
    from collections.abc import Callable

REPLACEMENTS = ("zero", "mean", "noise", "blur", "inpainting", "other image")
FOREIGN = ("blur", "inpainting", "other image")
"""Replacements that no part of any explainer's own measurement uses."""
METRICS = ("deletion", "insertion", "gap", "correlation")

STEPS = 10
GAP_STEP = 2
SETS = 40
SET_SHARE = 0.2
_ROWS = 1024


@dataclass(frozen=True, kw_only=True)
class Jury:
    """Images of one model, with what all explainers are judged by.

    Attributes:
        model: From images to logits.
        images: (n, c, h, w) in [0, 1].
        targets: (n,) classes whose probability is watched.
        others: (n, c, h, w) an image of another predicted class for each.
        seed: Of the noise, the random sets and the order of ties.
    """

    model: Callable[[torch.Tensor], torch.Tensor]
    images: torch.Tensor
    targets: torch.Tensor
    others: torch.Tensor
    seed: int = 7

    def probability(self, points: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """(m,) of points (m, c, h, w), each about an image (m,)."""
        with torch.no_grad():
            parts = [
                self.model(points[i : i + _ROWS]).double().softmax(dim=1)
                for i in range(0, len(points), _ROWS)
            ]
        return torch.cat(parts).gather(1, self.targets[image][:, None])[:, 0]

    def fill(self, name: str) -> torch.Tensor:
        """(n, c, h, w) what replaces pixels; for inpainting see :func:`inpainted`."""
        images = self.images
        mean, deviation = mean_and_deviation(images)
        if name == "zero":
            return torch.zeros_like(images)
        if name == "mean":
            return mean.expand_as(images)
        if name == "noise":
            generator = torch.Generator().manual_seed(self.seed + 1)
            noise = torch.randn(images.shape, generator=generator)
            return (mean + deviation * noise).clamp(0, 1)
        if name == "blur":
            return gaussian_blur(images, images.shape[-1] / 7)
        return self.others

    def replaced(self, name: str, image: torch.Tensor, gone: torch.Tensor) -> torch.Tensor:
        """Points (m, c, h, w): images (m,) without the pixels that are `gone` (m, h, w)."""
        chosen = self.images[image]
        if name == "inpainting":
            return inpainted(chosen, ~gone[:, None])
        return torch.where(gone[:, None], self.fill(name)[image], chosen)

    def random_sets(self) -> torch.Tensor:
        """(n, SETS, h, w) bool, each with the same number of pixels."""
        n, _, height, width = self.images.shape
        generator = torch.Generator().manual_seed(self.seed + 2)
        drawn = torch.rand((n, SETS, height * width), generator=generator)
        count = round(SET_SHARE * height * width)
        chosen = drawn.argsort(dim=2)[:, :, :count]
        sets = torch.zeros(drawn.shape, dtype=torch.bool).scatter_(2, chosen, value=True)
        return sets.reshape(n, SETS, height, width)

    def drops(self, name: str, sets: torch.Tensor) -> torch.Tensor:
        """(n, SETS) what p loses when a set goes."""
        n = len(self.images)
        image = torch.arange(n).repeat_interleave(SETS)
        clean = self.probability(self.images, torch.arange(n))
        left = self.probability(self.replaced(name, image, sets.flatten(0, 1)), image)
        return clean[:, None] - left.reshape(n, SETS)

    def curves(self, name: str, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, STEPS + 1) each: p while pixels of `maps` (n, h, w) go, and while they come."""
        n, height, width = maps.shape
        rank = self.ranks(maps)
        counts = (torch.arange(STEPS + 1) * height * width / STEPS).round()
        image = torch.arange(n).repeat_interleave(STEPS + 1)
        gone = (rank[:, None] < counts[None, :, None, None]).flatten(0, 1)
        going = self.probability(self.replaced(name, image, gone), image)
        coming = self.probability(self.replaced(name, image, ~gone), image)
        return going.reshape(n, -1), coming.reshape(n, -1)

    def ranks(self, maps: torch.Tensor) -> torch.Tensor:
        """(n, h, w): 0 for the highest pixel; ties in an order that is drawn once."""
        flat = maps.flatten(1)
        generator = torch.Generator().manual_seed(self.seed + 3)
        shuffled = torch.rand(flat.shape, generator=generator).argsort(dim=1)
        order = flat.gather(1, shuffled).argsort(dim=1, descending=True, stable=True)
        ordered = shuffled.gather(1, order)
        rank = torch.empty_like(ordered)
        rank.scatter_(1, ordered, torch.arange(flat.shape[1]).expand_as(ordered))
        return rank.reshape(maps.shape)


def inpainted(images: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Fill what is not known from what is, by pull and push through a pyramid of averages.

    Args:
        images: (m, c, h, w).
        known: (m, 1, h, w) bool.

    Returns:
        Images whose known pixels are as they were, and whose others are averages of the known
        ones nearest to them; the image's mean where nothing is known.
    """
    weight = known.to(images)
    return torch.where(known, images, _pushed(images * weight, weight, images))


def _pushed(values: torch.Tensor, weight: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    average = values / weight.clamp_min(1e-6)
    if min(values.shape[2:]) == 1:
        return torch.where(weight > 0, average, images.mean(dim=(2, 3), keepdim=True))
    coarse = _pushed(
        avg_pool2d(values, 2, ceil_mode=True), avg_pool2d(weight, 2, ceil_mode=True), images
    )
    smooth = interpolate(coarse, size=values.shape[2:], mode="bilinear", align_corners=False)
    return torch.where(weight > 0, average, smooth)


def correlation(maps: torch.Tensor, sets: torch.Tensor, drops: torch.Tensor) -> torch.Tensor:
    """(n,) Pearson's r of sums of maps in sets with drops; 0 where either doesn't vary."""
    sums = torch.einsum("nhw,nshw->ns", maps.double(), sets.double())
    left = sums - sums.mean(dim=1, keepdim=True)
    right = drops - drops.mean(dim=1, keepdim=True)
    scale = left.norm(dim=1) * right.norm(dim=1)
    return torch.where(scale > 1e-12, (left * right).sum(dim=1) / scale.clamp_min(1e-12), 0)


def scores(
    jury: Jury, maps: torch.Tensor, name: str, sets: torch.Tensor, drops: torch.Tensor
) -> torch.Tensor:
    """(4, n): the metrics of maps under one replacement, in the order of `METRICS`."""
    going, coming = jury.curves(name, maps)
    return torch.stack(
        [
            going[:, 0] - _mean_height(going),
            _mean_height(coming),
            going[:, 0] - going[:, GAP_STEP],
            correlation(maps, sets, drops),
        ]
    )


def _mean_height(curve: torch.Tensor) -> torch.Tensor:
    return torch.trapezoid(curve, dim=1) / (curve.shape[1] - 1)
