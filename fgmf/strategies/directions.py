"""Directions of perturbations, from the simplest to the least simple.

A direction is a tensor of the shape of one image that is not zero; its length says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from fgmf.seeding import image_generator


class Direction(Protocol):
    """Which values of an image change, and which way."""

    def values(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Return (c, h, w) float64, not all zero."""

    def describe(self) -> str:
        """Say it in a few words, after the norm."""


@dataclass(frozen=True, kw_only=True)
class Everywhere:
    """All values the same way."""

    darker: bool = False

    def values(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Ones, or minus ones."""
        return torch.full(shape, _sign(darker=self.darker), dtype=torch.float64)

    def describe(self) -> str:
        """Such as ``added to every value``."""
        return "taken from every value" if self.darker else "added to every value"


@dataclass(frozen=True, kw_only=True)
class Rectangle:
    """All channels of some neighbouring pixels the same way; parts outside the image are cut.

    Attributes:
        top: First row, from 0.
        left: First column.
        height: Rows.
        width: Columns.
        darker: Down instead of up.
    """

    top: int
    left: int
    height: int = 1
    width: int = 1
    darker: bool = False

    def values(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Zero but for the rectangle."""
        direction = torch.zeros(shape, dtype=torch.float64)
        rows = slice(self.top, self.top + self.height)
        columns = slice(self.left, self.left + self.width)
        direction[..., rows, columns] = _sign(darker=self.darker)
        return direction

    def describe(self) -> str:
        """Such as ``on 2 x 3 pixels from row 4, column 0``."""
        word = "taken from" if self.darker else "added to"
        many = "pixels" if self.height * self.width > 1 else "pixel"
        place = f"row {self.top}, column {self.left}"
        return f"{word} {self.height} x {self.width} {many} from {place}"


@dataclass(frozen=True, kw_only=True)
class Signs:
    """Each value one way or the other, drawn.

    Attributes:
        seed: Fixes the draws.
    """

    seed: int

    def values(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Ones and minus ones."""
        drawn = image_generator(self.seed, "signs").integers(0, 2, size=shape)
        return torch.from_numpy(drawn * 2.0 - 1.0)

    def describe(self) -> str:
        """Such as ``of random signs (seed 3)``."""
        return f"of random signs (seed {self.seed})"


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Each value by itself from a normal distribution: any direction can come.

    Attributes:
        seed: Fixes the draws.
    """

    seed: int

    def values(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Normal numbers."""
        return torch.from_numpy(image_generator(self.seed, "normal").normal(size=shape))

    def describe(self) -> str:
        """Such as ``in a random direction (seed 3)``."""
        return f"in a random direction (seed {self.seed})"


def _sign(*, darker: bool) -> float:
    return -1.0 if darker else 1.0
