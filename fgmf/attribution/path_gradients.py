"""Gradients along the way from a baseline to the image.

    Integrated Gradients:   b = one baseline
        for i = 0 .. steps - 1:   g_i = gradient of the score at b + (i + 1/2) / steps (x - b)
        map = sum over channels of (x - b) * mean g_i
        gap = score(x) - score(b) - sum of the map                  0 if the steps are fine enough
    Expected gradients:     b_i = clipped noise of the image's mean and deviation
        for i = 0 .. samples - 1: g_i = gradient at b_i + a_i (x - b_i),
                                  a_i = (i + u_i) / samples, u_i uniform
        map = sum over channels of mean (x - b_i) * g_i

Source: Sundararajan et al. 2017, equation 3, by the midpoint rule, which is exact where the
gradient is linear along a step. Erion et al. 2021, equation 3; deviations: the baselines are
noise like the image instead of other images of the training set, which a gate doesn't have, and
the places on the paths are stratified, which lowers the variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from fgmf.attribution.images import (
    Replacement,
    mean_and_deviation,
    paired_normal,
    replacements,
)
from fgmf.attribution.method import Answer, Method
from fgmf.attribution.passes import Output, Variants, ask_scores, sum_gradients

if TYPE_CHECKING:
    from fgmf.attribution.request import Request
    from fgmf.types import Images


@dataclass(frozen=True, kw_only=True)
class IntegratedGradients(Method):
    """Integrated Gradients from one baseline.

    Attributes:
        steps: Points on the path. 32 keep the gap of small networks near a hundredth of the
            difference of scores; the gap of each image is in the diagnostics.
        baseline: What stands for nothing: ``zero``, ``mean``, ``noise`` or ``blur``
            (`images.replacements`).
        zero: The pixel value of ``zero``; 0 is black on images in [0, 1] and grey on [-1, 1].
        output: ``log-odds``, ``logit`` or ``probability`` of the target class.

    Diagnostics:
        completeness_gap: score(image) - score(baseline) - sum of the map, per image.
        score: Of the image.
        baseline_score: Of its baseline.

    Cost: steps + 2 forward and `steps` backward passes per image. Randomness: ``noise`` draws a
        baseline.
    """

    name: ClassVar[str] = "integrated-gradients"
    steps: int = 32
    baseline: Replacement = "zero"
    zero: float = 0.0
    output: Output = "log-odds"

    def _answer(self, request: Request) -> Answer:
        map_ = integrated_gradients(
            request, steps=self.steps, baseline=self.baseline, zero=self.zero, output=self.output
        ).sum(dim=1)

        def ends(image: torch.Tensor, number: torch.Tensor) -> Images:
            start = replacements(
                request, image, self.baseline, zero=self.zero, number=torch.zeros_like(image)
            )
            first = (number == 0)[:, None, None, None].to(start.device)
            return torch.where(first, request.images[image], start)

        scores = ask_scores(request, Variants(count=2, make=ends), output=self.output)
        gap = scores[:, 0] - scores[:, 1] - map_.sum(dim=(1, 2))
        return Answer(
            maps=map_,
            diagnostics={
                "completeness_gap": gap,
                "score": scores[:, 0],
                "baseline_score": scores[:, 1],
            },
        )


@dataclass(frozen=True, kw_only=True)
class ExpectedGradients(Method):
    """Gradients between the image and noise like it.

    Attributes:
        samples: Baselines, each with one gradient. 12 are where more changed little on small
            networks.
        output: ``log-odds``, ``logit`` or ``probability`` of the target class.

    Cost: `samples` forward and backward passes per image. Randomness: baselines and places.
    """

    name: ClassVar[str] = "expected-gradients"
    samples: int = 12
    output: Output = "log-odds"

    def _answer(self, request: Request) -> Answer:
        made = expected_gradients(request, samples=self.samples, output=self.output)
        return Answer(maps=made.sum(dim=1))


def integrated_gradients(
    request: Request, *, steps: int, baseline: Replacement, zero: float, output: Output
) -> torch.Tensor:
    """Return Integrated Gradients per channel: (n, c, h, w) float64 on the CPU.

    Cost: `steps` forward and backward passes per image.
    """

    def start(image: torch.Tensor) -> Images:
        return replacements(request, image, baseline, zero=zero, number=torch.zeros_like(image))

    def points(image: torch.Tensor, number: torch.Tensor) -> Images:
        place = ((number.double() + 0.5) / steps).to(request.images)[:, None, None, None]
        begin = start(image)
        return begin + place * (request.images[image] - begin)

    gradient, _ = sum_gradients(request, Variants(count=steps, make=points), output=output)
    everyone = torch.arange(len(request.images))
    way = request.images.cpu().double() - start(everyone).cpu().double()
    return way * (gradient / steps)


def expected_gradients(request: Request, *, samples: int, output: Output) -> torch.Tensor:
    """Return expected gradients per channel: (n, c, h, w) float64 on the CPU.

    Cost: `samples` forward and backward passes per image.
    """
    drawn = [
        [request.uniform(i, "place", k) for k in range(samples)] for i in range(len(request.images))
    ]
    offsets = torch.arange(samples, dtype=torch.float64) + torch.tensor(drawn, dtype=torch.float64)
    places = (offsets / samples).to(request.images)[:, :, None, None, None]

    def start(image: torch.Tensor, number: torch.Tensor) -> Images:
        # Draw 0 is the noise that occlusion fills cells with; baselines take the next ones.
        return replacements(request, image, "noise", zero=0.0, number=number + 1)

    def points(image: torch.Tensor, number: torch.Tensor) -> Images:
        a = places[image, number]
        return a * request.images[image] + (1 - a) * start(image, number)

    def weigh(
        gradient: Images, points: Images, image: torch.Tensor, number: torch.Tensor
    ) -> Images:
        # x - b = (x - point) / (1 - a), and a < 1 always.
        return gradient * (request.images[image] - points) / (1 - places[image, number])

    total, _ = sum_gradients(
        request, Variants(count=samples, make=points), output=output, weigh=weigh
    )
    return total / samples


def noise_path_gradient(request: Request, *, samples: int, output: Output) -> torch.Tensor:
    """Return the mean gradient on the way from noise to the image: (n, c, h, w) float64.

    Point i lies at (i + 1/2) / samples of the way from a baseline of clipped noise to the image;
    the noise of every second baseline is that of the one before with the other sign.

    Cost: `samples` forward and backward passes per image. Randomness: the noise.
    """
    lower, upper = request.bounds

    def points(image: torch.Tensor, number: torch.Tensor) -> Images:
        chosen = request.images[image]
        mean, deviation = mean_and_deviation(chosen)
        drawn = paired_normal(request, image, number, "baseline")
        start = (mean + deviation * drawn).clamp(lower, upper)
        place = ((number.double() + 0.5) / samples).to(chosen)[:, None, None, None]
        return start + place * (chosen - start)

    total, _ = sum_gradients(request, Variants(count=samples, make=points), output=output)
    return total / samples
