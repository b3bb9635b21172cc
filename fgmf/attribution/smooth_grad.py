"""SmoothGrad: the mean gradient in a cloud around the image.

    g   = mean over samples of the gradient of the score at x + deviation * range * normal noise
    map = sum over channels of g  |  x * g  |  (x - mean of x) * g

Source: Smilkov et al. 2017, equation in section 3. Deviations: signed; the noise is a share of
the range of the bounds rather than of the image, so that a faint image is not explained by a
smaller cloud; noisy points are not clipped, as in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from fgmf.attribution.images import mean_and_deviation, normal, paired_normal
from fgmf.attribution.method import Answer, Method
from fgmf.attribution.passes import Output, Variants, sum_gradients

if TYPE_CHECKING:
    import torch

    from fgmf.attribution.request import Request
    from fgmf.types import Images


@dataclass(frozen=True, kw_only=True)
class SmoothGrad(Method):
    """Mean gradient under noise.

    Attributes:
        samples: Noisy copies. 16, since small networks' maps change little beyond.
        deviation: Of the noise, as a share of the range of the bounds; .15, as the paper's
            examples.
        times: ``one``: the gradient itself. ``input``: times the image. ``centred``: times the
            image less its mean, which says what the image does that its mean would not.
        output: ``log-odds``, ``logit`` or ``probability`` of the target class.

    Cost: `samples` forward and backward passes per image. Randomness: the noise.
    """

    name: ClassVar[str] = "smooth-grad"
    samples: int = 16
    deviation: float = 0.15
    times: Literal["one", "input", "centred"] = "one"
    output: Output = "log-odds"

    def _answer(self, request: Request) -> Answer:
        gradient = smooth_gradient(
            request, samples=self.samples, deviation=self.deviation, output=self.output
        )
        images = request.images.cpu().double()
        if self.times == "input":
            gradient = gradient * images
        elif self.times == "centred":
            gradient = gradient * (images - mean_and_deviation(images)[0])
        return Answer(maps=gradient.sum(dim=1))


def smooth_gradient(
    request: Request, *, samples: int, deviation: float, output: Output, paired: bool = False
) -> torch.Tensor:
    """Return the mean gradient under noise: (n, c, h, w) float64 on the CPU.

    Args:
        request: The images.
        samples: Noisy copies.
        deviation: Of the noise, as a share of the range of the bounds.
        output: Whose gradient.
        paired: Every second copy has the noise of the one before with the other sign, so that
            what is linear in the noise falls out of the mean.

    Cost: `samples` forward and backward passes per image.
    """
    lower, upper = request.bounds

    def points(image: torch.Tensor, number: torch.Tensor) -> Images:
        draw = paired_normal if paired else normal
        drawn = draw(request, image, number, "smoothing")
        return request.images[image] + deviation * (upper - lower) * drawn

    total, _ = sum_gradients(request, Variants(count=samples, make=points), output=output)
    return total / samples
