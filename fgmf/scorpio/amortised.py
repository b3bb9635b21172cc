"""Amortised perturbations: each training image keeps its own between epochs.

u[i] none at start;  e = budget * min(1, progress / warm_up);  a batch of images i:
    r ~ U(-1, 1);  v = clamp(r if i is new else u[i] + noise r, -1, 1)
    g = gradient of CE at clamp(x + e v)                          the only extra gradient
    v = clamp(v + step sign(g), -1, 1);  u[i] = v                 one byte per value
    the loss is taken at clamp(x + e v)

Where images are augmented, the stored perturbation must be transformed with them
(:mod:`fgmf.training.augmentation`), or kept per view.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import torch

from fgmf.curvature import loss_scale
from fgmf.errors import InvalidInput, StaleEvidence

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fgmf.scorpio.salience import LossOfImages
    from fgmf.types import Bounds, Images

_SCALE: Final = 127.0


@dataclass(frozen=True, kw_only=True)
class Amortised:
    """Hyper-parameters of one amortised step.

    Attributes:
        noise: Added to a stored perturbation, over the budget.
        step: Length of the step, over the budget.

    Source: close to published warm starts across epochs (Zheng et al. 2020, ATTA); noise and step
        are those that measured best on small networks.
    """

    noise: float = 0.5
    step: float = 1.5

    def __post_init__(self) -> None:
        """Refuse what moves nothing.

        Raises:
            InvalidInput: A value outside its range.
        """
        if not (math.isfinite(self.noise) and self.noise >= 0):
            raise InvalidInput(f"expected noise of at least 0, got {self.noise!r}")
        if not (math.isfinite(self.step) and self.step > 0):
            raise InvalidInput(f"expected a step above 0, got {self.step!r}")


class KeptPerturbations(Protocol):
    """Where :func:`amortised_step` reads and writes: a store, or one behind views of images."""

    def read(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Perturbations (b, c, h, w) in [-1, 1], and which images have one (b,)."""

    def write(self, indices: torch.Tensor, perturbations: torch.Tensor) -> None:
        """Keep perturbations in [-1, 1]."""


class PerturbationStore:
    """One perturbation per training image, in units of the budget, one byte per value.

    Args:
        image_count: Of the training set.
        shape: Of one image, (c, h, w).

    Memory: `image_count` times c h w bytes, on the CPU: 47 MB for 60 000 images of 28 x 28.
    """

    def __init__(self, image_count: int, shape: Sequence[int]) -> None:
        if image_count < 1 or min(shape, default=0) < 1:
            raise InvalidInput(
                f"expected at least one image of a shape (c, h, w), got {image_count} of "
                f"{tuple(shape)}"
            )
        self._values = torch.zeros(image_count, *shape, dtype=torch.int8)
        self._seen = torch.zeros(image_count, dtype=torch.bool)

    @property
    def seen_count(self) -> int:
        """Images that have a perturbation."""
        return int(self._seen.sum())

    def read(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Perturbations (b, c, h, w) in [-1, 1], float32, and which images have one (b,)."""
        self._check(indices)
        return self._values[indices].float() / _SCALE, self._seen[indices]

    def write(self, indices: torch.Tensor, perturbations: torch.Tensor) -> None:
        """Keep perturbations in [-1, 1], rounded to 1 / 127.

        Raises:
            InvalidInput: Another shape, values outside, NaN, or an image twice.
        """
        self._check(indices)
        values = perturbations.detach().cpu()
        expected = (len(indices), *self._values.shape[1:])
        if values.shape != expected or not bool((values.abs() <= 1).all()):
            raise InvalidInput(
                f"expected perturbations within [-1, 1] of shape {expected}, "
                f"got shape {tuple(values.shape)}, largest {float(values.abs().max()):g}"
            )
        if len(indices.unique()) != len(indices):
            raise InvalidInput("expected each image once in a batch, got one twice")
        self._values[indices] = (values * _SCALE).round().to(torch.int8)
        self._seen[indices] = True

    def share(self, summed: Callable[[torch.Tensor], torch.Tensor], own: torch.Tensor) -> None:
        """Take the perturbations that other processes wrote; each image has one writer.

        Args:
            summed: Sums a tensor over the processes.
            own: (n,) int64: images that this process wrote since the last time, in no other one.

        Cost: the whole store, once.
        """
        self._check(own)
        written = torch.zeros_like(self._seen)
        written[own] = True
        for kept in (self._values, self._seen):
            mine = torch.zeros(kept.shape, dtype=torch.int8)
            mine[written] = kept[written].to(torch.int8)
            theirs = summed(mine)
            anyone = summed(written.to(torch.int8)) > 0
            kept[anyone] = theirs[anyone].to(kept.dtype)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Copies of all that is kept, for a checkpoint; tensors only."""
        return {"values": self._values.clone(), "seen": self._seen.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave, bit by bit.

        Raises:
            StaleEvidence: It is of another training set, or no such state.
        """
        for name, own in (("values", self._values), ("seen", self._seen)):
            given = state.get(name)
            kind = (own.dtype, own.shape)
            if not isinstance(given, torch.Tensor) or (given.dtype, given.shape) != kind:
                raise StaleEvidence(
                    f"expected {name} as {own.dtype} of shape {tuple(own.shape)} in the stored "
                    "perturbations, got another; they belong to another training set"
                )
        self._values.copy_(state["values"])
        self._seen.copy_(state["seen"])

    def _check(self, indices: torch.Tensor) -> None:
        count = len(self._seen)
        whole = indices.ndim == 1 and indices.dtype == torch.int64
        if not whole or (
            len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < count
        ):
            raise InvalidInput(
                f"expected indices (b,) int64 below {count}, got {indices.dtype} of shape "
                f"{tuple(indices.shape)}"
            )


@dataclass(frozen=True, kw_only=True)
class MovedImages:
    """What a step leaves.

    Attributes:
        images: (n, c, h, w) within the ball and the bounds, without gradient.
        gradient: Of the losses at the start of the step, (n, c, h, w): of use to whoever needs one
            near the images.
    """

    images: Images
    gradient: Images


def amortised_step(  # noqa: PLR0913 - a batch, where it is kept, and how it is moved
    loss_of: LossOfImages,
    images: Images,
    indices: torch.Tensor,
    store: KeptPerturbations,
    amortised: Amortised,
    *,
    epsilon: float,
    bounds: Bounds,
    draws: torch.Generator,
) -> MovedImages:
    """Move images by their stored perturbations, refreshed by one gradient step.

    Args:
        loss_of: Maps images to losses (n,).
        images: (n, c, h, w) within the bounds.
        indices: (n,) int64, on the CPU: their places in the training set.
        store: Read, and written.
        amortised: Noise and step.
        epsilon: Budget now, in the units of the bounds.
        bounds: Range of the pixels.
        draws: Gives the noise, on the CPU.

    Returns:
        The images, and the gradient that moved them.

    Cost: 1 forward and 1 backward pass.
    """
    kept, seen = store.read(indices)
    noise = 2.0 * torch.rand(kept.shape, generator=draws) - 1.0
    first = seen.view([-1] + [1] * (kept.ndim - 1))
    start = torch.where(first, kept + amortised.noise * noise, noise).clamp(-1.0, 1.0)
    start = start.to(device=images.device, dtype=images.dtype)
    at = (images + epsilon * start).clamp(*bounds).detach().requires_grad_()
    scale = loss_scale(at)
    with torch.enable_grad():
        loss = loss_of(at).sum()
        (gradient,) = torch.autograd.grad(loss if scale == 1.0 else scale * loss, at)
    moved = (start + amortised.step * gradient.sign()).clamp(-1.0, 1.0)
    store.write(indices, moved)
    return MovedImages(
        images=(images + epsilon * moved).clamp(*bounds).detach(),
        gradient=gradient if scale == 1.0 else gradient / scale,
    )
