"""How often the loss bends downwards: is the Hessian locally positive semi-definite?

for each image, m directions of length 1 (the gradient's, then random ones):
    c = v . (g(x + h v) - g(x)) / h              finite step h, in the units of the images (L2)
negative share = share of images with c < -tolerance along at least one of them

On networks with ReLU only a finite step can see negative curvature: the exact Hessian of the
cross-entropy there is J'(diag p - p p')J, positive semi-definite whatever the network is. A measure
by exact products would always report success.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from fgmf.curvature.input_space import InputCurvature
from fgmf.curvature.spectrum import random_directions
from fgmf.errors import InvalidInput, NonFiniteOutput
from fgmf.seeding import derive_seed
from fgmf.statistics import binomial_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.curvature.input_space import LossOfImages
    from fgmf.curvature.passes import HvpMode, PassCount
    from fgmf.types import Images
    from fgmf.verdict import Interval


@dataclass(frozen=True, kw_only=True)
class CurvatureProbe:
    """How negative curvature is looked for.

    Attributes:
        step: h, length of the step in the units of the images (L2).
        directions: Per image: the gradient's own, the others random.
        mode: ``finite-difference`` unless the network is smooth.
        tolerance: Magnitude up to which negative curvature is taken as rounding.
        confidence: Of the interval.
    """

    step: float
    directions: int = 4
    mode: HvpMode = "finite-difference"
    tolerance: float = 0.0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        """Refuse what measures nothing.

        Raises:
            InvalidInput: No direction, or a tolerance that is none.
        """
        if self.directions < 1:
            raise InvalidInput(f"expected at least one direction, got {self.directions!r}")
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise InvalidInput(f"expected a tolerance of at least 0, got {self.tolerance!r}")


@dataclass(frozen=True, kw_only=True, eq=False)
class NegativeCurvature:
    """What was found.

    Attributes:
        probe: How it was looked for.
        curvatures: (n, directions): along each direction of each image.
        image_count: n.
        negative_image_count: Images with negative curvature along at least one direction.
        share: Of such images.
        interval: Exact, for the share in the population that the images were drawn from.
        direction_share: Share of all directions of all images that have negative curvature.
        seed: Fixed the random directions.
        cost: Passes over the batch.
    """

    probe: CurvatureProbe
    curvatures: torch.Tensor
    image_count: int
    negative_image_count: int
    share: float
    interval: Interval
    direction_share: float
    seed: int
    cost: PassCount


def measure_negative_curvature(
    loss_of: LossOfImages,
    images: Images,
    probe: CurvatureProbe,
    *,
    seed: int = 0,
    keys: Sequence[str | int] | None = None,
) -> NegativeCurvature:
    """Measure on how many images the loss has negative curvature along few directions.

    Args:
        loss_of: Maps images to losses (n,), each from its own image alone.
        images: (n, c, h, w), at least one.
        probe: Step, number of directions, mode.
        seed: Of the random directions.
        keys: One per image, for draws that do not depend on the batch.

    Returns:
        Shares, with every curvature.

    Raises:
        InvalidInput: No images.
        NonFiniteOutput: A curvature is NaN or infinite.

    Cost: 1 + `directions` forward and backward passes in the default mode.
    Randomness: (seed, key, number of the direction) fixes each direction.
    """
    if len(images) == 0:
        raise InvalidInput("expected at least one image, got none")
    curvature = InputCurvature(loss_of, images, mode=probe.mode, step=probe.step)
    columns = []
    for number in range(probe.directions):
        name = derive_seed(seed, "negative curvature", number)
        v = random_directions(curvature.images, seed=name, keys=keys)
        v = _of_length_one(curvature.gradient, otherwise=v) if number == 0 else v
        columns.append((v * curvature.product(v)).flatten(1).sum(dim=1).detach())
    found = torch.stack(columns, dim=1)
    if not bool(found.isfinite().all()):
        raise NonFiniteOutput("expected finite curvatures, got NaN or infinity; check the logits")
    negative = found < -probe.tolerance
    count = int(negative.any(dim=1).sum())
    return NegativeCurvature(
        probe=probe,
        curvatures=found,
        image_count=len(images),
        negative_image_count=count,
        share=count / len(images),
        interval=binomial_interval(count, len(images), confidence=probe.confidence),
        direction_share=float(negative.double().mean()),
        seed=seed,
        cost=curvature.cost,
    )


def _of_length_one(gradient: Images, *, otherwise: Images) -> Images:
    """The gradient's direction, or another where it is zero."""
    shape = [-1] + [1] * (gradient.ndim - 1)
    length = gradient.flatten(1).norm(dim=1).view(shape)
    usable = length > torch.finfo(gradient.dtype).tiny
    return torch.where(usable, gradient / torch.where(usable, length, 1.0), otherwise)
