"""Changes of images: values that say what is done, how much of it, and do it.

The `repr` of a change makes it again, so a counterexample in a message can be pasted into a test.
A change is the same for every image that it is applied to; its size 0 changes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch

from fgmf.attacks.projection import project
from fgmf.canonical import tensor_digest
from fgmf.corruptions.applying import corrupt
from fgmf.corruptions.catalogue import CORRUPTIONS, Severity
from fgmf.corruptions.geometry import turned
from fgmf.corruptions.tone import brightness, contrast
from fgmf.errors import InvalidInput
from fgmf.threat import ThreatModel, format_epsilon

if TYPE_CHECKING:
    from fgmf.strategies.directions import Direction
    from fgmf.types import Bounds, Images, Norm


@runtime_checkable
class ImageChange(Protocol):
    """What :func:`fgmf.strategies.assert_invariant` can search: write your own with these."""

    @property
    def size(self) -> float:
        """How much is changed, at least 0."""

    def apply(self, images: Images, bounds: Bounds) -> Images:
        """Return changed images of the same shape and type, within the bounds."""

    def with_size(self, size: float) -> ImageChange | None:
        """Return the same change of another size; None where sizes are no continuum."""

    def describe(self) -> str:
        """Say what is done in a few words, such as ``brightness +0.137``."""


@dataclass(frozen=True, kw_only=True)
class BrightnessShift:
    """A constant added to every value.

    Attributes:
        added: Share of the range of the bounds; below 0 is darker.
    """

    added: float

    @property
    def size(self) -> float:
        """Share of the range."""
        return abs(self.added)

    def apply(self, images: Images, bounds: Bounds) -> Images:
        """Return shifted images, cut to the bounds."""
        return _through_unit(images, bounds, brightness(_unit(images, bounds), self.added))

    def with_size(self, size: float) -> BrightnessShift:
        """Return a shift to the same side."""
        return BrightnessShift(added=math.copysign(size, self.added))

    def describe(self) -> str:
        """Such as ``brightness +0.137``."""
        return f"brightness {self.added:+.4g}"


@dataclass(frozen=True, kw_only=True)
class ContrastLoss:
    """Every value pulled towards the mean of its image and channel.

    Attributes:
        lost: Share of the distance from the mean, 0 to 1.
    """

    lost: float

    @property
    def size(self) -> float:
        """Share of the contrast that is lost."""
        return self.lost

    def apply(self, images: Images, bounds: Bounds) -> Images:
        """Return images with less contrast."""
        return _through_unit(images, bounds, contrast(_unit(images, bounds), 1.0 - self.lost))

    def with_size(self, size: float) -> ContrastLoss:
        """Return another loss."""
        return ContrastLoss(lost=size)

    def describe(self) -> str:
        """Such as ``contrast -40 %``."""
        return f"contrast -{self.lost * 100:.4g} %"


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """A turn about the centre; what comes in from outside is the lower bound.

    Attributes:
        degrees: Positive angles go against the clock.
    """

    degrees: float

    @property
    def size(self) -> float:
        """Degrees, whatever the direction."""
        return abs(self.degrees)

    def apply(self, images: Images, bounds: Bounds) -> Images:
        """Return turned images, bilinear."""
        if self.degrees == 0:
            return images.clone()
        unit = _unit(images, bounds)
        return _through_unit(images, bounds, turned(unit, [math.radians(self.degrees)] * len(unit)))

    def with_size(self, size: float) -> Rotation:
        """Return a turn in the same direction."""
        return Rotation(degrees=math.copysign(size, self.degrees))

    def describe(self) -> str:
        """Such as ``rotation +7.3 degrees``."""
        return f"rotation {self.degrees:+.4g} degrees"


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """A common corruption, as the gate of that kind has it.

    Attributes:
        name: One of :data:`fgmf.corruptions.CORRUPTIONS`.
        severity: 1 (slight) to 5.
        seed: Fixes what it draws, for each image by its content.
    """

    name: str
    severity: Severity
    seed: int = 0

    @property
    def size(self) -> float:
        """The severity."""
        return float(self.severity)

    def apply(self, images: Images, bounds: Bounds) -> Images:
        """Return corrupted images."""
        keys = [tensor_digest(image) for image in images]
        return corrupt(
            images, self.name, severity=self.severity, bounds=bounds, seed=self.seed, keys=keys
        )

    def with_size(self, size: float) -> None:
        """There is nothing between two severities."""

    def describe(self) -> str:
        """Such as ``JPEG of severity 3``."""
        drawn = f" (seed {self.seed})" if CORRUPTIONS[self.name].draws else ""
        return f"{CORRUPTIONS[self.name].title} of severity {self.severity}{drawn}"


@dataclass(frozen=True, kw_only=True)
class NormBallPerturbation:
    """The same perturbation of every image, held inside a norm ball and the bounds.

    Attributes:
        norm: Of the perturbation, over all values of one image.
        epsilon: Its norm before it is cut to the bounds, in their units.
        direction: Which values change, and which way.
    """

    norm: Norm
    epsilon: float
    direction: Direction

    @property
    def size(self) -> float:
        """Its norm."""
        return self.epsilon

    def values(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Return the perturbation itself: (c, h, w) float64, its norm `epsilon`."""
        direction = self.direction.values(shape)
        order = {"linf": math.inf, "l2": 2.0, "l1": 1.0}[self.norm]
        length = float(torch.linalg.vector_norm(direction.flatten(), ord=order))
        return direction * (self.epsilon / length)

    def apply(self, images: Images, bounds: Bounds) -> Images:
        """Return perturbed images, each inside its ball (`fgmf.attacks.projection.inside`)."""
        threat = ThreatModel(norm=self.norm, epsilon=self.epsilon, bounds=bounds)
        clean = images.detach().cpu()
        moved = (clean.double() + self.values(tuple(images.shape[1:]))).to(clean.dtype)
        return project(clean, moved, threat).to(images.device)

    def with_size(self, size: float) -> NormBallPerturbation:
        """Return a longer or shorter one in the same direction."""
        return replace(self, epsilon=size)

    def describe(self) -> str:
        """Such as ``Linf 8/255 on a rectangle of 2 x 3 pixels``."""
        return (
            f"{self.norm.capitalize()} {format_epsilon(self.epsilon)} {self.direction.describe()}"
        )


def check_changed(change: ImageChange, images: Images, changed: Images, bounds: Bounds) -> Images:
    """Refuse what a change must not return, and give it back otherwise.

    Raises:
        InvalidInput: Other shapes or types, or values that are NaN or outside the bounds.
    """
    if not isinstance(changed, torch.Tensor) or changed.shape != images.shape:
        got = getattr(changed, "shape", type(changed).__name__)
        message = f"expected {change.describe()} to keep the shape {tuple(images.shape)}, got {got}"
        raise InvalidInput(message)
    lower, upper = bounds
    if not bool(((changed >= lower) & (changed <= upper)).all()):
        message = f"expected {change.describe()} to stay within the bounds {bounds}, without NaN"
        raise InvalidInput(f"{message}; clamp what it returns")
    return changed


def _unit(images: Images, bounds: Bounds) -> Images:
    lower, upper = bounds
    return ((images.detach().cpu().double() - lower) / (upper - lower)).clamp(0.0, 1.0)


def _through_unit(images: Images, bounds: Bounds, unit: Images) -> Images:
    lower, upper = bounds
    scaled = lower + unit.clamp(0.0, 1.0) * (upper - lower)
    return scaled.to(device=images.device, dtype=images.dtype).clamp(lower, upper)
