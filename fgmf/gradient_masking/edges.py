"""Pixels that the iterative attack cannot leave: their gradient is missing, and they matter.

    at the points where PGD-40 ended:
        absent  = pixels whose gradient is zero or not finite (of the margin, exact copy)
        d(S)    = (f(x + h m_S) - f(x)) / h     m: signs at random, inwards at the bounds, on half
                                                of the pixels of S; h and h / 4 have to agree
        share   = |d(absent)| / (|d(absent)| + |d(rest)|)

An infinite slope times zero, a root or an absolute value at black, a clamp: the gradient is lost
at some values of a pixel, often just at the bounds, and an attack that comes there stays. What is
honestly flat (a dead ReLU, a pixel that nobody looks at) does not change over small steps either.

The remedy takes every gradient at a point moved inwards by a hundredth of the range.

Source: ours. Cost: 8 forward passes and 1 backward pass per scout.
Randomness: signs and halves, by image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from fgmf.attacks.own import SubstituteBackward
from fgmf.gradient_masking.slopes import margin_slopes
from fgmf.gradient_masking.uncertainty import median_interval
from fgmf.gradient_masking.values import Symptom
from fgmf.preflight.gradients import leading_classes, margin_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.attacks.own.task import LogitsFunction
    from fgmf.classifier import Classifier
    from fgmf.gradient_masking.examined import Examined
    from fgmf.threat import ThreatModel
    from fgmf.types import Bounds, Images

_STEP: Final = {torch.float64: 1e-5, torch.float32: 1e-3}
_SHRUNK: Final = 4.0
_AGREE: Final = 0.1
_LARGE: Final = 0.1
_INSIDE: Final = 1e-2


def probe_edges(examined: Examined, exact: Classifier, ends: Images) -> Iterator[Symptom]:
    """Compare pixels without a gradient with what moving them does.

    Args:
        examined: The model on its scouts.
        exact: The same model, in float64 where that can be had.
        ends: (m, ...) where the iterative attack ended.
    """
    if examined.traits.random:
        return
    examined.fresh()
    pair = leading_classes(exact.logits_in_batches(ends))
    examined.fresh()
    slopes = margin_slopes(exact, ends, pair)
    if slopes is None:
        return
    absent = ~slopes.isfinite() | (slopes == 0)
    by_absent = _moved(examined, exact, ends, pair, absent)
    by_rest = _moved(examined, exact, ends, pair, ~absent)
    share = by_absent / (by_absent + by_rest).clamp_min(1e-300)
    middle = float(share.median())
    yield Symptom(
        name="pixels-without-gradient",
        value=middle,
        limit=_LARGE,
        # Where no pixel has a gradient, other symptoms say so.
        stands=middle > _LARGE and not bool(absent.all()),
        image_count=len(share),
        interval=median_interval(share),
        mechanisms=("exploding", "vanishing"),
        note="median share of the margin's change, over small steps from where PGD-40 ended, that "
        f"is due to pixels without a gradient; these are {float(absent.double().mean()):.0%}",
        passes=9 * len(share),
    )


def _moved(
    examined: Examined,
    exact: Classifier,
    points: Images,
    pair: tuple[torch.Tensor, torch.Tensor],
    which: torch.Tensor,
) -> torch.Tensor:
    """(m,) how much the margin changes as some pixels move inwards; 0 where two steps disagree."""
    kind = torch.float64 if exact.dtype is torch.float64 else torch.float32
    lower, upper = examined.threat.bounds
    width = upper - lower
    start = points.to(kind)
    signs = examined.uniform("edge signs").sign().to(start)
    signs = torch.where(start <= lower + 2 * _STEP[kind] * width, 1.0, signs)
    signs = torch.where(start >= upper - 2 * _STEP[kind] * width, -1.0, signs)
    halves = examined.uniform("edge halves").flatten(1) > 0
    move = torch.where((which & halves).reshape(start.shape), signs, 0.0)

    def margin(at: Images) -> torch.Tensor:
        examined.fresh()
        return margin_of(exact.logits_in_batches(at).double(), *pair)

    still = margin(start)
    far, near = (
        (margin(start + step * move) - still) / step
        for step in (_STEP[kind] * width, _STEP[kind] * width / _SHRUNK)
    )
    steady = (far - near).abs() <= _AGREE * near.abs()
    return torch.where(steady, near.abs(), 0.0).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def gradient_inside(logits: LogitsFunction, threat: ThreatModel) -> LogitsFunction:
    """A model's values, with the gradient at a point a little inside of the bounds.

    Args:
        logits: Differentiable.
        threat: Its bounds.
    """
    return SubstituteBackward(logits, lambda images: logits(_inwards(images, threat.bounds)))


def _inwards(images: Images, bounds: Bounds) -> Images:
    lower, upper = bounds
    room = _INSIDE * (upper - lower)
    inside: Images = images + (images.clamp(lower + room, upper - room) - images).detach()
    return inside
