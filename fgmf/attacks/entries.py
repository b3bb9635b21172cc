"""What is said of an attack that a gate can name: plain data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgmf.types import Norm

Value = bool | int | float | str
Engine = Literal["foolbox", "own", "outside", "extension"]


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A tunable number, switch or name of an attack."""

    default: Value
    lowest: float | None = None
    above: float | None = None
    highest: float | None = None
    meaning: str = ""

    def accepts(self, value: object) -> bool:
        """Whether `value` has the type of the default and lies in the range."""
        if isinstance(self.default, str):
            return isinstance(value, str) and bool(value)
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
            return "text"
        words = "a whole number" if isinstance(self.default, int) else "a number"
        limits = ((">=", self.lowest), (">", self.above), ("<=", self.highest))
        given = [f"{sign} {limit:g}" for sign, limit in limits if limit is not None]
        return f"{words} {' and '.join(given)}".rstrip()


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """An attack by name.

    Attributes:
        name: Name in gate files and reports.
        title: Name in headlines.
        engine: What carries it out: Foolbox, the project's own engine, a source outside the gated
            model (`sources`), or another package.
        made_for: Norms that the attack is made for; of Foolbox attacks those of the classes.
        foolbox_classes: Foolbox class for each norm.
        needs_gradient: False for score- and decision-based attacks.
        minimum_norm: True if it looks for the smallest perturbation rather than the largest
            loss inside the ball.
        random: True if restarts can differ.
        needs_start: True if it walks from a given misclassified image.
        targeted: True if it can aim at a class.
        follows_margin: True if it follows differences of logits, or sees scores alone, so that a
            saturated cross-entropy does not blind it.
        whole_list: True if it is given many images at once and does batches and restarts on
            its own; False if it is called once per batch and restart.
        one_by_one: True if Foolbox's arithmetic mixes the images of a batch, so that a result
            would depend on its neighbours; such an attack sees one image at a time.
        constraint_argument: True if its constructor takes the norm.
        parameters: Its parameters with defaults.
        fixed: Constructor arguments that are not the user's to set, with the reason in the
            bridge.
    """

    name: str
    title: str
    engine: Engine = "foolbox"
    made_for: tuple[Norm, ...] = ()
    foolbox_classes: Mapping[Norm, str] = field(default_factory=dict)
    needs_gradient: bool = True
    minimum_norm: bool = False
    random: bool = True
    needs_start: bool = False
    targeted: bool = True
    follows_margin: bool = False
    whole_list: bool = False
    one_by_one: bool = False
    constraint_argument: bool = False
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    fixed: Mapping[str, object] = field(default_factory=dict)

    @property
    def norms(self) -> tuple[Norm, ...]:
        """Norms that the attack is made for."""
        return self.made_for or tuple(self.foolbox_classes)
