"""How a weight or a budget grows during training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fgmf.errors import InvalidInput


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """A value that moves in a straight line, or as half a cosine, and then stays.

    Attributes:
        start: At the beginning.
        end: From `until` on.
        until: Share of the training over which it moves; 0 starts at the end.
        smooth: Half a cosine, without corners.
    """

    start: float = 0.0
    end: float = 1.0
    until: float = 0.2
    smooth: bool = False

    def __post_init__(self) -> None:
        """Refuse values that are none.

        Raises:
            InvalidInput: NaN, infinity, or a share outside [0, 1].
        """
        for name in ("start", "end"):
            if not math.isfinite(getattr(self, name)):
                raise InvalidInput(f"expected a finite {name}, got {getattr(self, name)!r}")
        if not 0.0 <= self.until <= 1.0:
            raise InvalidInput(f"expected until from 0 to 1, got {self.until!r}")

    def at(self, progress: float) -> float:
        """Return the value at `progress`, from 0 to 1, through the training."""
        if progress >= self.until:
            return self.end
        share = progress / self.until
        if self.smooth:
            share = (1.0 - math.cos(math.pi * share)) / 2.0
        return self.start + (self.end - self.start) * share
