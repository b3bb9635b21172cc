"""Maps from one gradient at the image.

    g   = gradient of the score with respect to the image
    map = sum over channels of g            |  of x * g

Source: Simonyan et al. 2013 (without the absolute value, so that the sign is kept); Shrikumar et
al. 2017. Deviations: the score is the log-odds unless `output` says otherwise, because the
gradient of a probability vanishes where the model is sure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fgmf.attribution.method import Answer, Method
from fgmf.attribution.passes import Output, Variants, sum_gradients

if TYPE_CHECKING:
    import torch

    from fgmf.attribution.request import Request


@dataclass(frozen=True, kw_only=True)
class Gradient(Method):
    """Gradient of the score, summed over channels.

    Attributes:
        output: ``log-odds``, ``logit`` or ``probability`` of the target class.

    Cost: one forward and one backward pass per image. Randomness: none.
    """

    name: ClassVar[str] = "gradient"
    output: Output = "log-odds"

    def _answer(self, request: Request) -> Answer:
        return Answer(maps=gradient_at_images(request, output=self.output).sum(dim=1))


@dataclass(frozen=True, kw_only=True)
class GradientTimesInput(Method):
    """Gradient of the score times the image, summed over channels.

    Pixels of value 0 get 0 whatever the model does with them.

    Attributes:
        output: ``log-odds``, ``logit`` or ``probability`` of the target class.

    Cost: one forward and one backward pass per image. Randomness: none.
    """

    name: ClassVar[str] = "gradient-times-input"
    output: Output = "log-odds"

    def _answer(self, request: Request) -> Answer:
        gradient = gradient_at_images(request, output=self.output)
        return Answer(maps=(gradient * request.images.cpu().double()).sum(dim=1))


def gradient_at_images(request: Request, *, output: Output) -> torch.Tensor:
    """Return the gradient of the score at each image: (n, c, h, w) float64 on the CPU.

    Cost: one forward and one backward pass per image.
    """
    itself = Variants(count=1, make=lambda image, _: request.images[image])
    return sum_gradients(request, itself, output=output)[0]
