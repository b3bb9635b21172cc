"""What is said of a parameter of an attack or an explainer: its default and its range."""

from __future__ import annotations

import math
from dataclasses import dataclass

Value = bool | int | float | str


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A tunable number, switch or name of something that can be named in a gate.

    Attributes:
        default: Its value where none is given; its type is the type that is accepted.
        lowest: Smallest number.
        above: Every number is greater than this.
        highest: Largest number.
        choices: The only texts that are accepted; empty: any.
        meaning: What it is, for people.
    """

    default: Value
    lowest: float | None = None
    above: float | None = None
    highest: float | None = None
    choices: tuple[str, ...] = ()
    meaning: str = ""

    def accepts(self, value: object) -> bool:
        """Whether `value` has the type of the default and lies in the range."""
        if isinstance(self.default, str):
            fits = value in self.choices if self.choices else bool(value)
            return isinstance(value, str) and fits
        if isinstance(self.default, bool) or isinstance(value, bool):
            return isinstance(self.default, bool) and isinstance(value, bool)
        if not isinstance(value, int if isinstance(self.default, int) else (int, float)):
            return False
        return math.isfinite(value) and self._in_range(value)

    def _in_range(self, value: float) -> bool:
        low = self.lowest is None or value >= self.lowest
        high = self.highest is None or value <= self.highest
        return low and high and (self.above is None or value > self.above)

    @property
    def allowed(self) -> str:
        """Words for what is accepted, such as ``a whole number >= 1``."""
        if isinstance(self.default, bool):
            return "true or false"
        if isinstance(self.default, str):
            return f"one of {', '.join(self.choices)}" if self.choices else "text"
        words = "a whole number" if isinstance(self.default, int) else "a number"
        limits = ((">=", self.lowest), (">", self.above), ("<=", self.highest))
        given = [f"{sign} {limit:g}" for sign, limit in limits if limit is not None]
        return f"{words} {' and '.join(given)}".rstrip()
