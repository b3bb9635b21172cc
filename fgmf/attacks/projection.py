"""Holding an adversarial image inside its ball and the box, in spite of float32 rounding.

`x + epsilon` rounded to float32 can lie outside the ball of radius epsilon. What leaves this
module lies inside when it is measured in float64: exactly for Linf, and for L2 and L1 within a
relative `MEASURING_TOLERANCE` that covers the rounding of the float64 sum itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from fgmf.threat import ThreatModel
    from fgmf.types import ImageFlags, Images, Norm

MEASURING_TOLERANCE = 1e-9
_SHRINKAGES = (1e-7, 1e-6, 1e-5, 1e-4)


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
        (n, ...) on the CPU, for which :func:`inside` holds wherever the input was finite.
    """
    clean, moved = images.cpu(), adversarial.cpu()
    if threat.norm == "linf":
        return _clamp_to_cube(clean, moved, threat)
    lower, upper = threat.bounds
    moved = moved.clamp(lower, upper)
    for shrinkage in (0.0, *_SHRINKAGES):
        size = distances(clean, moved, threat.norm)
        limit = threat.epsilon * (1 - shrinkage)
        outside = size > threat.epsilon
        if not bool(outside.any()):
            break
        factor = torch.where(outside, limit / size.clamp_min(1e-300), torch.ones_like(size))
        factor = factor.reshape(-1, *([1] * (clean.ndim - 1)))
        shrunk = clean.double() + (moved.double() - clean.double()) * factor
        chosen = outside.reshape(factor.shape)
        moved = torch.where(chosen, shrunk.to(clean.dtype).clamp(lower, upper), moved)
    return moved


def inside(images: Images, adversarial: Images, threat: ThreatModel) -> ImageFlags:
    """(n,) True where an adversarial image is finite, inside the bounds and inside the ball."""
    lower, upper = (float(torch.tensor(b, dtype=images.dtype)) for b in threat.bounds)
    flat = adversarial.cpu().flatten(1)
    in_box = ((flat >= lower) & (flat <= upper)).all(dim=1)
    limit = threat.epsilon * (1 + (0.0 if threat.norm == "linf" else MEASURING_TOLERANCE))
    return in_box & (distances(images, adversarial, threat.norm) <= limit)


def _clamp_to_cube(clean: Images, moved: Images, threat: ThreatModel) -> Images:
    lower, upper = threat.bounds
    exact = clean.double()
    low = _rounded_up(exact - threat.epsilon, clean.dtype).clamp(lower, upper)
    high = _rounded_down(exact + threat.epsilon, clean.dtype).clamp(lower, upper)
    return torch.minimum(torch.maximum(moved, low), high)


def _rounded_up(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    near = values.to(dtype)
    above = torch.nextafter(near, torch.full_like(near, torch.inf))
    return torch.where(near.double() < values, above, near)


def _rounded_down(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return -_rounded_up(-values, dtype)
