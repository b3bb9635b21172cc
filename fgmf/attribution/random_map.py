"""A map that knows nothing: the reference that every explanation must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from fgmf.attribution.images import gaussian_blur
from fgmf.attribution.method import Answer, Method
from fgmf.attribution.passes import Variants, ask_scores

if TYPE_CHECKING:
    from fgmf.attribution.request import Request


@dataclass(frozen=True, kw_only=True)
class RandomMap(Method):
    """Normal noise, blurred or not.

    Attributes:
        deviation: Of the blur in pixels; 0 for white noise. A smooth random map is a harder
            reference for methods whose maps are smooth.

    Cost: one forward pass per image, so that a broken model is an error here, too. Randomness:
        fixed by seed and key.
    """

    name: ClassVar[str] = "random"
    deviation: float = 0.0

    def _answer(self, request: Request) -> Answer:
        itself = Variants(count=1, make=lambda image, _: request.images[image])
        ask_scores(request, itself, output="log-odds")
        count = range(len(request.images))
        drawn = torch.stack([request.normal(i, "random map", 0)[0] for i in count])
        return Answer(maps=gaussian_blur(drawn, self.deviation))
