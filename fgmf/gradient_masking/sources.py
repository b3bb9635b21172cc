"""Where a counter-attack takes its gradient from: functions from images to logits.

    own            the model itself, followed by the margin: no scale of the logits flattens it
    double         a copy in float64, scaled on the way back, without backward hooks
    around         the gradient averaged over points around, the value where one stands
    mean around    both averaged: another, smoother model, whose examples have to transfer
    opposite       the gradient turned round
    expected       averaged over draws (EOT)

What stands in the graph is the function's own affair: every attack is judged on the model itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from fgmf.attacks.own import SubstituteBackward
from fgmf.attacks.own.draws import uniform
from fgmf.gradient_masking.estimating import _seeds_of
from fgmf.gradient_masking.examined import DoubleEntry

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.attacks.own.losses import LossName
    from fgmf.attacks.own.task import LogitsFunction
    from fgmf.classifier import Classifier
    from fgmf.gradient_masking.examined import Examined
    from fgmf.gradient_masking.mechanisms import Mechanism
    from fgmf.threat import ThreatModel
    from fgmf.types import Images, Logits


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A gradient to follow.

    Attributes:
        name: For the report.
        logits: Differentiable.
        mechanisms: What it undoes.
        layer: Module at which it does; empty: the model as a whole.
        loss: What is raised.
        scout_steps: Iterations on the scouts.
        steps: Iterations on all images.
        faithful: Its values are the model's own, so an attack may stop where they say broken.
        model: What it makes of another model's copy, such as one averaged over draws.
    """

    name: str
    logits: LogitsFunction
    mechanisms: tuple[Mechanism, ...] = ()
    layer: str = ""
    loss: LossName = "margin"
    scout_steps: int = 12
    steps: int = 40
    faithful: bool = True


def double_logits(
    copy: Classifier, entry: Callable[[Images], Images] | None = None
) -> LogitsFunction:
    """The logits of a copy in float64, with gradients that float32 can hold."""

    def logits(images: Images) -> Logits:
        inside: Images = DoubleEntry.apply(images)  # type: ignore[no-untyped-call]
        return copy.logits(inside if entry is None else entry(inside))

    return logits


def mean_around(
    logits: LogitsFunction, threat: ThreatModel, *, points: int, reach: float, seed: int
) -> LogitsFunction:
    """The model averaged over points around: value and gradient are those of a smoother one.

    Args:
        logits: The model.
        threat: Its bounds cut the points.
        points: How many, at least one.
        reach: How far each pixel moves at most, in the units of the bounds.
        seed: Of the moves; with the contents of each image it fixes them.
    """

    def averaged(images: Images) -> Logits:
        seeds = _seeds_of(images, seed)
        total: Logits | None = None
        for point in range(points):
            draws = uniform(seeds, torch.full_like(seeds, point), images[0].numel())
            move = reach * (draws.reshape(images.shape).to(images) * 2 - 1)
            answer = logits((images + move).clamp(*threat.bounds))
            total = answer if total is None else total + answer
        if total is None:
            return logits(images)
        return total / points

    function: Any = averaged
    function.passes_per_call = points
    return function  # type: ignore[no-any-return]


def around(
    logits: LogitsFunction, threat: ThreatModel, *, points: int, reach: float, seed: int
) -> LogitsFunction:
    """The model's values, with its gradient averaged over points around.

    Args:
        logits: The model.
        threat: Its bounds cut the points.
        points: How many.
        reach: How far each pixel moves at most, in the units of the bounds.
        seed: Of the moves; with the contents of each image it fixes them.
    """
    averaged = mean_around(logits, threat, points=points, reach=reach, seed=seed)
    function: Any = SubstituteBackward(logits, averaged)
    function.passes_per_call = points + 1
    return function  # type: ignore[no-any-return]


def opposite(logits: LogitsFunction) -> LogitsFunction:
    """The model's values, with its gradient turned round."""
    return SubstituteBackward(logits, lambda images: -logits(images))


def own_source(examined: Examined) -> Source:
    """The model itself, followed by the margin."""
    return Source(name="margin", logits=examined.logits, mechanisms=("saturation",))
