"""Holding an adversarial image inside its ball and the box, in spite of float32 rounding.

`x + epsilon` rounded to float32 can lie outside the ball of radius epsilon. Here every value is
rounded towards its clean value instead, so that no difference grows. What leaves this module
lies inside when it is measured in float64: exactly for Linf, and for L2 and L1 within a relative
`MEASURING_TOLERANCE` that covers the rounding of the float64 sum itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from fgmf.threat import ThreatModel
    from fgmf.types import ImageFlags, Images, Norm

MEASURING_TOLERANCE = 1e-9


def distances(images: Images, others: Images, norm: Norm) -> torch.Tensor:
    """Return the distance of each pair of images: (n,) float64 on the CPU.

    Args:
        images: (n, ...).
        others: (n, ...), the same shape.
        norm: Over all values of one image.

    Raises:
        InvalidInput: The shapes differ.
    """
    if images.shape != others.shape:
        message = f"expected images of one shape, got {images.shape} and {others.shape}"
        raise InvalidInput(message)
    difference = (others.cpu().double() - images.cpu().double()).flatten(1)
    order = {"linf": float("inf"), "l2": 2.0, "l1": 1.0}[norm]
    size: torch.Tensor = torch.linalg.vector_norm(difference, ord=order, dim=1)
    return size


def project(images: Images, adversarial: Images, threat: ThreatModel) -> Images:
    """Move each adversarial image to a point that its threat model allows.

    Args:
        images: (n, ...) clean images.
        adversarial: (n, ...) images to move, same shape and dtype; not finite values stay so.
        threat: Norm, radius and bounds.

    Returns:
        (n, ...) on the CPU, for which :func:`inside` holds wherever the input was finite. What
        is inside already is not moved.
    """
    clean, moved = images.cpu(), adversarial.cpu()
    if threat.norm == "linf":
        return _clamp_to_cube(clean, moved, threat)
    moved = moved.clamp(*threat.bounds)
    size = distances(clean, moved, threat.norm)
    outside = (size > _limit(threat)).reshape(-1, *([1] * (clean.ndim - 1)))
    factor = (threat.epsilon / size.clamp_min(1e-300)).reshape(outside.shape)
    step = (moved.double() - clean.double()) * factor
    shrunk = _no_farther((clean.double() + step).to(clean.dtype), clean, step.abs())
    return torch.where(outside, shrunk.clamp(*threat.bounds), moved)


def inside(images: Images, adversarial: Images, threat: ThreatModel) -> ImageFlags:
    """(n,) True where an adversarial image is finite, inside the bounds and inside the ball."""
    lower, upper = (float(torch.tensor(b, dtype=images.dtype)) for b in threat.bounds)
    flat = adversarial.cpu().flatten(1)
    in_box = ((flat >= lower) & (flat <= upper)).all(dim=1)
    return in_box & (distances(images, adversarial, threat.norm) <= _limit(threat))


def _limit(threat: ThreatModel) -> float:
    return threat.epsilon * (1 + (0.0 if threat.norm == "linf" else MEASURING_TOLERANCE))


def _clamp_to_cube(clean: Images, moved: Images, threat: ThreatModel) -> Images:
    lower, upper = threat.bounds
    exact, limit = clean.double(), torch.full_like(clean, threat.epsilon, dtype=torch.float64)
    low = _no_farther((exact - limit).to(clean.dtype), clean, limit).clamp(lower, upper)
    high = _no_farther((exact + limit).to(clean.dtype), clean, limit).clamp(lower, upper)
    return torch.minimum(torch.maximum(moved, low), high)


def _no_farther(values: Images, clean: Images, limits: torch.Tensor) -> Images:
    """Step values back by one rounding step where they are more than `limits` from clean ones.

    One step is enough for values that were rounded to the nearest: it undoes the rounding.
    """
    farther = (values.double() - clean.double()).abs() > limits
    return torch.where(farther, torch.nextafter(values, clean), values)
