"""Check on the gradient: does it say how the output changes?

along sign(g):       (margin(x + h v) - margin(x - h v)) / 2h   is about   g . v
along random signs:  it is not many times larger than |g|
where g is zero:     it is zero
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from fgmf.preflight.gradients import STEP, leading_classes, margin_of
from fgmf.preflight.policy import Observation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.classifier import Classifier
    from fgmf.preflight.gradients import GradientMeasurement
    from fgmf.types import Images, Logits

_MOST: Final = 0.5
_LEAST_RISE: Final = 0.2
_MOST_EXCESS: Final = 10.0
_MOST_HIDDEN: Final = 0.2
"""Honest networks: rise about 1, excess below 1, hidden 0. Straight-through rounding to 16
levels: excess about 8; half of the input detached: hidden about 1."""
_TF32: Final = 2e-3


def observe_consistency(
    classifier: Classifier, images: Images, measured: GradientMeasurement, *, seed: int
) -> Iterator[Observation]:
    """Compare gradients with central differences, in three directions for each image.

    Along the signs of the gradient the margin must rise as the gradient says; along random
    signs it must not change far more than the gradient says; and pixels whose gradient is
    exactly zero must not matter. All are judged over the images together, so that a
    straight-through estimator (right on average, if not for each image) is let through.

    Args:
        classifier: Inside its guard; deterministic.
        images: (n, ...) that the gradients were measured at, from :func:`probe_points`.
        measured: Their gradients.
        seed: Fixes the random signs.

    Cost: 6n forward passes. Randomness: `seed`, through a generator of its own.
    """
    rows = measured.margin
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, rows.shape, generator=generator).double() * 2 - 1
    size = rows.norm(dim=1)
    floor = measured.logits.double().abs().amax(dim=1) * _resolution(classifier) / STEP

    def slope(direction: torch.Tensor) -> torch.Tensor:
        return _central_difference(classifier, images, measured.logits, direction)

    steep = rows.abs().sum(dim=1) > floor
    rise = (slope(rows.sign()) / rows.abs().sum(dim=1))[steep].clamp(-10, 10)
    excess = _above(slope(signs), floor) / size
    hidden = _above(slope(torch.where(rows == 0, signs, 0.0)), floor) / size
    reasons = []
    if rise.numel() >= _MOST * rows.shape[0] and float(rise.mean()) < _LEAST_RISE:
        reasons.append(f"the margin rises by {float(rise.mean()):.2g} of what the gradient says")
    if float(excess.nanmedian()) > _MOST_EXCESS:
        reasons.append(f"the margin changes {float(excess.nanmedian()):.2g} times as much")
    if float(hidden.nanmedian()) > _MOST_HIDDEN:
        reasons.append("pixels with zero gradient change the output")
    if reasons:
        yield Observation(
            name="gradient-inconsistent",
            severity="error",
            message=f"the gradient does not say how the output changes: {'; '.join(reasons)}",
            fix="look for custom backward functions, hooks that alter gradients, or .detach() "
            "on a part of the input",
            evidence={
                "rise": _rounded(rise.mean()),
                "excess": _rounded(excess.nanmedian()),
                "hidden": _rounded(hidden.nanmedian()),
                "image_count": rows.shape[0],
            },
        )


def _central_difference(
    classifier: Classifier, images: Images, logits: Logits, direction: torch.Tensor
) -> torch.Tensor:
    """Slope of the margin along a direction, per range of the bounds: (n,)."""
    lower, upper = classifier.bounds
    offset = (STEP * (upper - lower) * direction).reshape(images.shape).to(images.dtype)
    pair = leading_classes(logits)
    ahead, behind = (
        margin_of(classifier.logits_in_batches(moved).double(), *pair)
        for moved in (images + offset, images - offset)
    )
    return (ahead - behind) / (2 * STEP)


def _above(slopes: torch.Tensor, floor: torch.Tensor) -> torch.Tensor:
    """Absolute slopes, zero where rounding alone could feign them."""
    return torch.where(slopes.abs() > floor, slopes.abs(), 0.0)


def _rounded(value: torch.Tensor) -> float | None:
    return float(f"{float(value):.3g}") if bool(torch.isfinite(value)) else None


def _resolution(classifier: Classifier) -> float:
    """Relative error of a logit: rounding of some hundred operations, or of TF32 kernels."""
    rounding = 200 * torch.finfo(classifier.dtype).eps
    return max(rounding, _TF32) if classifier.device.type == "cuda" else rounding
