"""The threat model: what an adversary may do to an image."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from fractions import Fraction
from typing import get_args

from fgmf.errors import InvalidInput
from fgmf.types import Bounds, Norm

_NUMBER = r"\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?"
_FRACTION = re.compile(rf"\s*({_NUMBER})\s*(?:/\s*({_NUMBER})\s*)?", re.ASCII)


def parse_epsilon(value: float | str) -> float:
    """Read a budget written as a number or as a fraction such as ``"8/255"``.

    Args:
        value: Number, decimal text, or ``"numerator/denominator"``.

    Returns:
        The budget, in the units of the image bounds; finite and not negative.

    Raises:
        InvalidInput: The text is no such number, or the number is negative, NaN or infinite.
    """
    if isinstance(value, str):
        return _parse_text(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and 0 <= value <= sys.float_info.max):
        raise InvalidInput(f"expected a finite epsilon >= 0, got {value!r}")
    return float(value)


def _parse_text(text: str) -> float:
    match = _FRACTION.fullmatch(text)
    if match is None:
        raise InvalidInput(f'expected epsilon as a number or a fraction like "8/255", got {text!r}')
    numerator, denominator = Fraction(match[1]), Fraction(match[2] or 1)
    if denominator == 0:
        raise InvalidInput(f"expected an epsilon with a non-zero denominator, got {text!r}")
    epsilon = numerator / denominator
    if epsilon > sys.float_info.max:
        raise InvalidInput(f"expected a finite epsilon, got {text!r}")
    return float(epsilon)


def format_epsilon(epsilon: float) -> str:
    """Write a budget as people do: two digits if they are exact, ``k/255``, or four digits."""
    short = f"{epsilon:.2g}"
    if float(short) == epsilon:
        return short
    numerator = round(epsilon * 255)
    if 0 < numerator < 255 and abs(epsilon * 255 - numerator) < 1e-9:
        return f"{numerator}/255"
    return f"{epsilon:.4g}"


@dataclass(frozen=True, kw_only=True)
class ThreatModel:
    """A norm ball around each image, intersected with the box of valid images.

    Attributes:
        norm: The norm of the perturbation, over all channels and pixels of one image.
        epsilon: Radius of the ball, in the units of `bounds`.
        bounds: Lowest and highest valid pixel value.
    """

    norm: Norm
    epsilon: float
    bounds: Bounds = (0.0, 1.0)

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InvalidInput: Unknown norm, negative or non-finite epsilon, empty or infinite bounds.
        """
        if self.norm not in get_args(Norm):
            raise InvalidInput(f"expected a norm of {get_args(Norm)}, got {self.norm!r}")
        if isinstance(self.epsilon, str):
            message = f"expected epsilon as a number, got {self.epsilon!r}; use parse_epsilon"
            raise InvalidInput(message)
        parse_epsilon(self.epsilon)
        finite = len(self.bounds) == 2 and all(math.isfinite(bound) for bound in self.bounds)
        if not (finite and self.bounds[0] < self.bounds[1]):
            message = f"expected finite bounds (lower, upper), lower < upper, got {self.bounds!r}"
            raise InvalidInput(message)

    def describe(self) -> str:
        """Words for a headline, such as ``Linf eps 8/255``."""
        return f"{self.norm.capitalize()} eps {format_epsilon(self.epsilon)}"
