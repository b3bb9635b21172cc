"""Symptoms in the scale of the output: is the loss flat where the margin is not?

    loss out of scale   cos(g, g'): g of the cross-entropy, g' of that on logits divided by their
                        median margin, both of the model itself in its own precision
    top logit flat      |grad zc_top| / max over other classes |grad zc_c|, zc = z - mean of classes

Logits that are multiplied leave no cross-entropy to follow, or only that of a few classes: the
first sees it. Logits that are squeezed by a bounded function keep their loss, but the top one,
which is far out, cannot be moved by small steps, while others can: the second sees that, whatever
constant an output such as log-softmax adds to all of an image's logits. It needs four classes.

Source: the control with logits times k of Carlini and Wagner 2017 (defensive distillation), as a
measurement; the second is ours.
Cost: 2 forward and 2 backward passes per scout, and 1 forward and up to 9 backward ones.
Randomness: none; of more than 9 classes the top four and five spread over the rest are asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from fgmf.classifier.memory import batched, is_out_of_memory
from fgmf.gradient_masking.uncertainty import median_interval
from fgmf.gradient_masking.values import Symptom
from fgmf.preflight.gradients import margin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fgmf.gradient_masking.examined import Examined
    from fgmf.gradient_masking.slopes import Slopes

_OUT_OF_SCALE: Final = 0.5
_FLAT: Final = 0.2
_CLASSES: Final = 9
_LEADING: Final = 4


def probe_scale(examined: Examined, slopes: Slopes) -> Iterator[Symptom]:
    """Look at the scale of the logits.

    Args:
        examined: The model on its scouts.
        slopes: Their gradients, and the most exact copy of the model.
    """
    if slopes.margin is None or examined.traits.random:
        return
    examined.fresh()
    margins = margin_of(slopes.exact.logits_in_batches(slopes.points).double(), *slopes.pair).abs()
    middle = max(float(margins.median()), torch.finfo(torch.float32).tiny)
    rescaled = _slopes(examined, slopes, _entropy_of(examined, middle))
    if rescaled is None:
        return
    cosine = torch.nn.functional.cosine_similarity(slopes.entropy, _unit(rescaled), dim=1)
    cosine = cosine.nan_to_num(nan=0.0)
    count = len(cosine)
    yield Symptom(
        name="loss-out-of-scale",
        value=float(cosine.median()),
        limit=_OUT_OF_SCALE,
        stands=float(cosine.median()) < _OUT_OF_SCALE,
        image_count=count,
        interval=median_interval(cosine),
        mechanisms=("saturation",),
        note="median cosine of the gradient of the cross-entropy with that on logits divided by "
        f"their median margin, {middle:.3g}",
        passes=3 * count,
    )
    examined.fresh()
    symptom = _top_logit(slopes)
    if symptom is not None:
        yield symptom
    examined.fresh()


def _entropy_of(examined: Examined, scale: float) -> Callable[[torch.Tensor, slice], torch.Tensor]:
    def loss(logits: torch.Tensor, where: slice) -> torch.Tensor:
        labels = examined.labels[where].to(logits.device)
        return torch.nn.functional.cross_entropy(logits / scale, labels, reduction="sum")

    return loss


def _slopes(
    examined: Examined, slopes: Slopes, loss: Callable[[torch.Tensor, slice], torch.Tensor]
) -> torch.Tensor | None:
    """(m, pixels) gradient of a loss at the probed points; None where there is none."""
    model = examined.classifier

    def slope_of(where: slice) -> torch.Tensor:
        examined.fresh()
        leaf = slopes.points[where].to(model.dtype).detach().clone().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(loss(model.logits(leaf), where), leaf)
        return gradient.double().flatten(1).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).cpu()

    try:
        parts = [part for _, part in batched(len(slopes.points), model.batch_size, slope_of)]
    except Exception as error:  # a user's model can raise anything
        if is_out_of_memory(error):
            raise
        return None
    return torch.cat(parts)


def _unit(rows: torch.Tensor) -> torch.Tensor:
    """Rows of the same direction whose products neither underflow nor overflow."""
    return rows / rows.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)


def _top_logit(slopes: Slopes) -> Symptom | None:
    lengths = _lengths(slopes)
    if lengths is None or lengths.shape[1] < _LEADING:
        return None
    others = lengths[:, 1:].amax(dim=1)
    usable = others > 0
    if not bool(usable.any()):
        return None
    ratio = lengths[usable, 0] / others[usable]
    middle = float(ratio.median())
    return Symptom(
        name="top-logit-flat",
        value=middle,
        limit=_FLAT,
        stands=middle < _FLAT,
        image_count=len(ratio),
        interval=median_interval(ratio),
        mechanisms=("saturation",),
        note="median slope of the top logit over the steepest slope of another one, each less the "
        "mean of all",
        passes=(1 + lengths.shape[1]) * len(lengths),
    )


def _lengths(slopes: Slopes) -> torch.Tensor | None:
    """(m, asked classes) lengths of the gradients of centred logits, the top one first."""
    model = slopes.exact

    def lengths_of(where: slice) -> torch.Tensor:
        leaf = slopes.points[where].to(model.dtype).detach().clone().requires_grad_()
        with torch.enable_grad():
            logits = model.logits(leaf)
            centred = logits - logits.mean(dim=1, keepdim=True)
        order = logits.detach().argsort(dim=1, descending=True)
        found = []
        for place in _asked(logits.shape[1]):
            wanted = torch.zeros_like(centred).scatter_(1, order[:, place : place + 1], 1.0)
            (slope,) = torch.autograd.grad(centred, leaf, wanted, retain_graph=True)
            found.append(slope.double().flatten(1).norm(dim=1).cpu())
        return torch.stack(found, dim=1).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)

    try:
        parts = [part for _, part in batched(len(slopes.points), model.batch_size, lengths_of)]
    except Exception as error:  # a user's model can raise anything
        if is_out_of_memory(error):
            raise
        return None
    return torch.cat(parts)


def _asked(classes: int) -> tuple[int, ...]:
    """Which places in the order of the logits are asked."""
    if classes <= _CLASSES:
        return tuple(range(classes))
    spread = torch.linspace(_LEADING, classes - 1, _CLASSES - _LEADING).long().tolist()
    return (*range(_LEADING), *spread)
