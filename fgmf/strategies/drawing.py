"""Strategies of changes, made so that shrinking ends in the smallest and then simplest one.

size = a whole number of 65536ths of the largest one, drawn first: what is drawn first is shrunk
    first, and whole numbers are shrunk by halving, where floating-point numbers would be shrunk to
    ones with few digits
direction = the simplest kind first, then its numbers, each towards 0
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hypothesis import strategies as st

from fgmf.corruptions.catalogue import CORRUPTIONS, DEFAULT_CORRUPTIONS, SEVERITIES
from fgmf.errors import InvalidInput
from fgmf.strategies.changes import (
    BrightnessShift,
    ContrastLoss,
    Corruption,
    NormBallPerturbation,
    Rotation,
)
from fgmf.strategies.directions import Drawn, Everywhere, Rectangle, Signs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.corruptions.catalogue import Severity
    from fgmf.strategies.directions import Direction
    from fgmf.threat import ThreatModel
    from fgmf.types import Norm

STEPS: Final = 2**16
"""Sizes between nothing and the largest; Hypothesis draws ranges below 2**24 evenly."""
_BEYOND: Final = STEPS // 3
"""Steps that all stand for the largest size: a quarter of the draws, for it fails most often."""
_SEEDS: Final = st.integers(0, 2**16 - 1)


@dataclass(frozen=True)
class SizeUpTo:
    """A size from the number of its step. Its `repr` is how searches tell strategies apart."""

    largest: float

    def __call__(self, step: int) -> float:
        """Return the size."""
        return self.largest * min(step, STEPS) / STEPS


@dataclass(frozen=True)
class InBall:
    """A perturbation from its size and direction."""

    norm: Norm

    def __call__(self, size: float, direction: Direction) -> NormBallPerturbation:
        """Return the perturbation."""
        return NormBallPerturbation(norm=self.norm, epsilon=size, direction=direction)


def sizes(largest: float) -> st.SearchStrategy[float]:
    """Sizes from 0 to `largest`, both included, which shrink to the smallest that fails.

    Args:
        largest: Finite, above 0.

    Raises:
        InvalidInput: It is not.
    """
    if isinstance(largest, bool) or not (math.isfinite(largest) and largest > 0):
        raise InvalidInput(f"expected the largest size as a finite number > 0, got {largest!r}")
    return st.integers(0, STEPS + _BEYOND).map(SizeUpTo(largest))


def brightness_shifts(largest: float = 0.3) -> st.SearchStrategy[BrightnessShift]:
    """Brighter or darker by up to `largest`, a share of the range of the bounds (at most 1)."""
    _at_most(largest, 1.0)
    return st.builds(_shift, sizes(largest), st.booleans())


def contrast_losses(largest: float = 0.5) -> st.SearchStrategy[ContrastLoss]:
    """Less contrast by up to `largest` (1 leaves one tone)."""
    _at_most(largest, 1.0)
    return st.builds(ContrastLoss, lost=sizes(largest))


def rotations(largest: float = 15.0) -> st.SearchStrategy[Rotation]:
    """Turns by up to `largest` degrees either way (at most 180)."""
    _at_most(largest, 180.0)
    return st.builds(_turn, sizes(largest), st.booleans())


def corruptions(
    names: Sequence[str] = DEFAULT_CORRUPTIONS, *, severities: Sequence[Severity] = SEVERITIES
) -> st.SearchStrategy[Corruption]:
    """Common corruptions: shrinks to the least severity, then to the first of the names.

    Args:
        names: Of :data:`fgmf.corruptions.CORRUPTIONS`, the simplest first.
        severities: 1 to 5.

    Raises:
        InvalidInput: None, or unknown ones.
    """
    unknown = [name for name in names if name not in CORRUPTIONS]
    if not names or unknown:
        raise InvalidInput(f"expected corruptions of {', '.join(CORRUPTIONS)}, got {unknown}")
    levels = sorted(set(severities))
    if not levels or not set(levels) <= set(SEVERITIES):
        raise InvalidInput(f"expected severities of 1 to 5, got {list(severities)}")

    return st.builds(_corruption, st.sampled_from(levels), st.sampled_from(list(names)), _SEEDS)


def perturbations(
    threat: ThreatModel, shape: tuple[int, int, int]
) -> st.SearchStrategy[NormBallPerturbation]:
    """Perturbations inside a norm ball: shrinks to the shortest, then to the simplest direction.

    Args:
        threat: Norm and radius. The bounds are the classifier's.
        shape: (c, h, w) of the images.

    Raises:
        InvalidInput: The radius is 0, or the shape is none.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise InvalidInput(f"expected a shape (channels, height, width), got {tuple(shape)}")
    return st.builds(InBall(threat.norm), sizes(threat.epsilon), _directions(*shape[1:]))


def _directions(height: int, width: int) -> st.SearchStrategy[Direction]:
    rectangles = st.builds(
        Rectangle,
        height=st.integers(1, height),
        width=st.integers(1, width),
        top=st.integers(0, height - 1),
        left=st.integers(0, width - 1),
        darker=st.booleans(),
    )
    return st.one_of(
        st.builds(Everywhere, darker=st.booleans()),
        rectangles,
        st.builds(Signs, seed=_SEEDS),
        st.builds(Drawn, seed=_SEEDS),
    )


def _shift(size: float, darker: bool) -> BrightnessShift:  # noqa: FBT001 - drawn by position
    return BrightnessShift(added=-size if darker else size)


def _turn(size: float, back: bool) -> Rotation:  # noqa: FBT001 - drawn by position
    return Rotation(degrees=-size if back else size)


def _corruption(severity: Severity, name: str, seed: int) -> Corruption:
    drawn = seed if CORRUPTIONS[name].draws else 0
    return Corruption(name=name, severity=severity, seed=drawn)


def _at_most(largest: float, limit: float) -> None:
    if not largest <= limit:
        raise InvalidInput(f"expected the largest size as a number <= {limit:g}, got {largest!r}")
