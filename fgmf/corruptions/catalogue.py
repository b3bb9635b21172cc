"""Every corruption by name: its severities, where they come from, what differs from the source.

Plain data without torch. Amplitudes are shares of the range of the bounds, distances pixels,
unless the name of the parameter says otherwise.

Source of the severities: Hendrycks and Dietterich, "Benchmarking neural network robustness to
common corruptions and perturbations" (2019); the values are those of the published scripts for
CIFAR-10-C (32x32, `small`) and ImageNet-C (224x224, `large`). Rotation and translation reach the
limits of Engstrom et al., "Exploring the landscape of spatial robustness" (2019); scale is that of
Mu and Gilmer, "MNIST-C" (2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

CorruptionName: TypeAlias = Literal[
    "gaussian-noise",
    "shot-noise",
    "impulse-noise",
    "gaussian-blur",
    "motion-blur",
    "brightness",
    "contrast",
    "rotation",
    "translation",
    "scale",
    "jpeg",
    "pixelate",
]
Severity: TypeAlias = Literal[1, 2, 3, 4, 5]
Values: TypeAlias = tuple[float, ...]
FiveSteps: TypeAlias = tuple[Values, Values, Values, Values, Values]

SEVERITIES: Final[tuple[Severity, ...]] = (1, 2, 3, 4, 5)
LARGE_SIDE: Final = 64
"""Images whose shorter side has at least so many pixels take the values of `large`."""
_CIFAR_IMAGENET: Final = "CIFAR-10-C, ImageNet-C"


@dataclass(frozen=True, kw_only=True)
class CorruptionEntry:
    """One corruption.

    Attributes:
        name: As gates write it.
        title: For people.
        parameters: What the numbers of a severity are, in order.
        small: Numbers by severity for small images.
        large: Numbers by severity for large ones (see `LARGE_SIDE`).
        draws: Whether it draws random numbers, for each image by itself.
        source: Whose severities these are.
        deviation: What differs from the source; empty where nothing does.
    """

    name: CorruptionName
    title: str
    parameters: tuple[str, ...]
    small: FiveSteps
    large: FiveSteps
    draws: bool
    source: str
    deviation: str = ""

    def values(self, severity: Severity, *, height: int, width: int) -> Values:
        """Return the numbers of a severity for images of a size in pixels."""
        steps = self.large if min(height, width) >= LARGE_SIDE else self.small
        return steps[severity - 1]


def _steps(a: float, b: float, c: float, d: float, e: float) -> FiveSteps:
    return (a,), (b,), (c,), (d,), (e,)


_ROTATION = _steps(6, 12, 18, 24, 30)
_TRANSLATION = _steps(0.02, 0.04, 0.06, 0.08, 0.1)
_SCALE = _steps(0.9, 0.8, 0.7, 0.6, 0.5)
_ENTRIES = (
    CorruptionEntry(
        name="gaussian-noise",
        title="Gaussian noise",
        parameters=("deviation",),
        small=_steps(0.04, 0.06, 0.08, 0.09, 0.10),
        large=_steps(0.08, 0.12, 0.18, 0.26, 0.38),
        draws=True,
        source=_CIFAR_IMAGENET,
        deviation="not rounded to 8 bits",
    ),
    CorruptionEntry(
        name="shot-noise",
        title="shot noise",
        parameters=("photons at the upper bound",),
        small=_steps(500, 250, 100, 75, 50),
        large=_steps(60, 25, 12, 5, 3),
        draws=True,
        source=_CIFAR_IMAGENET,
        deviation="not rounded to 8 bits",
    ),
    CorruptionEntry(
        name="impulse-noise",
        title="impulse noise",
        parameters=("share of values",),
        small=_steps(0.01, 0.02, 0.03, 0.05, 0.07),
        large=_steps(0.03, 0.06, 0.09, 0.17, 0.27),
        draws=True,
        source=_CIFAR_IMAGENET,
    ),
    CorruptionEntry(
        name="gaussian-blur",
        title="Gaussian blur",
        parameters=("deviation in pixels",),
        small=_steps(0.4, 0.6, 0.7, 0.8, 1.0),
        large=_steps(1, 2, 3, 4, 6),
        draws=False,
        source=_CIFAR_IMAGENET,
        deviation="not rounded to 8 bits",
    ),
    CorruptionEntry(
        name="motion-blur",
        title="motion blur",
        parameters=("radius in pixels", "deviation in pixels"),
        small=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        large=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        draws=True,
        source=_CIFAR_IMAGENET,
        deviation="whole-pixel steps along the line in place of ImageMagick's",
    ),
    CorruptionEntry(
        name="brightness",
        title="brightness",
        parameters=("added",),
        small=_steps(0.05, 0.1, 0.15, 0.2, 0.3),
        large=_steps(0.1, 0.2, 0.3, 0.4, 0.5),
        draws=False,
        source=_CIFAR_IMAGENET,
        deviation="added to every channel, not to the value of HSV; the same on grey images",
    ),
    CorruptionEntry(
        name="contrast",
        title="contrast",
        parameters=("factor",),
        small=_steps(0.75, 0.5, 0.4, 0.3, 0.15),
        large=_steps(0.4, 0.3, 0.2, 0.1, 0.05),
        draws=False,
        source=_CIFAR_IMAGENET,
        deviation="not rounded to 8 bits",
    ),
    CorruptionEntry(
        name="rotation",
        title="rotation",
        parameters=("degrees",),
        small=_ROTATION,
        large=_ROTATION,
        draws=True,
        source="Engstrom et al.",
        deviation="a ladder up to their limit of 30 degrees, the direction drawn",
    ),
    CorruptionEntry(
        name="translation",
        title="translation",
        parameters=("share of each side",),
        small=_TRANSLATION,
        large=_TRANSLATION,
        draws=True,
        source="Engstrom et al.",
        deviation="a ladder up to 10 % of the side, in whole pixels and at least one, "
        "the direction drawn",
    ),
    CorruptionEntry(
        name="scale",
        title="scale",
        parameters=("factor",),
        small=_SCALE,
        large=_SCALE,
        draws=False,
        source="MNIST-C",
    ),
    CorruptionEntry(
        name="jpeg",
        title="JPEG",
        parameters=("quality",),
        small=_steps(80, 65, 58, 50, 40),
        large=_steps(25, 18, 15, 10, 7),
        draws=False,
        source=_CIFAR_IMAGENET,
    ),
    CorruptionEntry(
        name="pixelate",
        title="pixelation",
        parameters=("share of the pixels of a side",),
        small=_steps(0.95, 0.9, 0.85, 0.75, 0.65),
        large=_steps(0.6, 0.5, 0.4, 0.3, 0.25),
        draws=False,
        source=_CIFAR_IMAGENET,
        deviation="not rounded to 8 bits",
    ),
)

CORRUPTIONS: Final[Mapping[str, CorruptionEntry]] = MappingProxyType(
    {entry.name: entry for entry in _ENTRIES}
)
"""Every corruption by name."""

DEFAULT_CORRUPTIONS: Final[tuple[CorruptionName, ...]] = (
    "gaussian-noise",
    "shot-noise",
    "impulse-noise",
    "gaussian-blur",
    "brightness",
    "contrast",
    "rotation",
    "translation",
    "jpeg",
)
"""What a gate takes that names none. It is a list of its own: a new corruption changes no gate."""
