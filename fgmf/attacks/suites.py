"""Suites: named lists of attacks in order, the cheapest that breaks most first. Plain data.

Nothing heavy is imported. Where an attack sets no restarts of its own, it takes the gate's.
Other packages add suites through the entry-point group ``fgmf.attacks`` (`extensions`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from fgmf.attacks.extensions import extension, extension_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgmf.attacks.entries import Value
    from fgmf.types import CriterionKind, Norm


@dataclass(frozen=True, kw_only=True)
class SuiteAttack:
    """One attack of a suite.

    Attributes:
        name: Of an attack that a gate can name.
        parameters: Those that are set otherwise than by default.
        restarts: Independent runs; None takes the gate's.
    """

    name: str
    parameters: Mapping[str, Value] = field(default_factory=dict)
    restarts: int | None = None


Attacks = tuple[SuiteAttack, ...]


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A named list of attacks.

    Attributes:
        name: In gate files.
        meaning: One line.
        attacks: In order, for each norm that it is made for.
        targeted: What runs instead under a targeted criterion; empty: the same.
        draws: Answers that each of our own attacks averages per question (EOT) on a model whose
            output is random; 1 leaves it off.
        random: What runs instead on such a model, so that the averaging stays cheap, for every
            norm or for each; empty: the same.
    """

    name: str
    meaning: str
    attacks: Mapping[Norm, Attacks]
    targeted: Attacks = ()
    draws: int = 1
    random: Attacks | Mapping[Norm, Attacks] = ()

    def attacks_for(
        self, norm: Norm, criterion: CriterionKind, *, random_output: bool = False
    ) -> Attacks:
        """The attacks of a gate; none if the suite is not made for the norm."""
        usual = self.attacks.get(norm, ())
        if criterion == "targeted":
            return self.targeted if usual and self.targeted else usual
        if not (usual and random_output):
            return usual
        if isinstance(self.random, tuple):
            return self.random or usual
        return self.random.get(norm, usual)


def _attack(name: str, restarts: int | None = None, **parameters: Value) -> SuiteAttack:
    return SuiteAttack(name=name, restarts=restarts, parameters=parameters)


def _by_norm(dense: Attacks, sparse: Attacks) -> dict[Norm, Attacks]:
    """In L1 a few steps bring nothing near: there the focused attack would miss a lot."""
    return {"linf": dense, "l2": dense, "l1": sparse}


def _ascent(steps: int) -> SuiteAttack:
    """From the clean image: what is easy to break falls first, at a few passes.

    One step asks for no gradient at its end: most of an undefended model falls at 3 passes.
    """
    return _attack("apgd-ce", steps=steps, random_start=False)


def _margins(targets: int, steps: int) -> SuiteAttack:
    """Also from the clean image: from there the nearest classes are found more often."""
    return _attack("minimum-margin", targets=targets, steps=steps, random_start=False)


def _focused(targets: int, steps: int, *, far: float, long: tuple[int, int]) -> SuiteAttack:
    """A short look at every image, and a long one at those that it brought near."""
    classes, length = long
    return _attack(
        "focused-margin",
        targets=targets,
        steps=steps,
        far=far,
        long_targets=classes,
        long_steps=length,
    )


def _second_look(targets: int, steps: int) -> SuiteAttack:
    """Another loss, from another point."""
    return _attack("apgd-dlr-t", targets=targets, steps=steps)


_QUICK = _by_norm(
    (
        _ascent(1),
        _focused(4, 3, far=0.2, long=(1, 13)),
    ),
    (_ascent(5), _margins(1, 25)),
)
_STANDARD = _by_norm(
    (
        _ascent(5),
        _focused(5, 8, far=0.36, long=(5, 30)),
    ),
    (_ascent(5), _margins(5, 20), _second_look(2, 60)),
)
_LONG = (
    _attack("apgd-ce", restarts=5, steps=100),
    _attack("apgd-dlr-t", targets=9, steps=100),
    _attack("minimum-norm"),
)
_SQUARE = _attack("square", queries=5000)
_THOROUGH: dict[Norm, Attacks] = {"linf": (*_LONG, _SQUARE), "l2": (*_LONG, _SQUARE), "l1": _LONG}
_SCORES = (_attack("random-search", queries=100), _attack("square", queries=1000))

SUITES: Mapping[str, Suite] = MappingProxyType(
    {
        suite.name: suite
        for suite in (
            Suite(
                name="quick",
                meaning="for every change: within a few points of `standard`",
                attacks=_QUICK,
                targeted=(_attack("minimum-margin", targets=1, steps=20),),
                draws=2,
                random=_by_norm(
                    (_ascent(1), _focused(3, 3, far=0.2, long=(1, 13))),
                    (_ascent(3), _margins(2, 5)),
                ),
            ),
            Suite(
                name="standard",
                meaning="the default",
                attacks=_STANDARD,
                targeted=(
                    _attack("minimum-margin", targets=1, steps=40),
                    _attack("apgd-ce", steps=40),
                ),
                draws=4,
                random=_by_norm(
                    (_ascent(5), _focused(3, 5, far=0.36, long=(3, 20)), _second_look(1, 12)),
                    (_ascent(5), _margins(2, 12), _second_look(1, 40)),
                ),
            ),
            Suite(
                name="thorough",
                meaning="for the night: more restarts, steps, targets and queries",
                attacks=_THOROUGH,
                draws=20,
            ),
            Suite(
                name="black-box",
                meaning="scores only: for ONNX files and models without gradient",
                attacks={"linf": _SCORES, "l2": _SCORES},
            ),
        )
    }
)
"""The suites of this package."""

DEFAULT_SUITE = "standard"
"""What a gate runs when it names neither suite nor attacks."""
GRADIENT_FREE_SUITE = "black-box"
"""Likewise, on a model without gradients."""


def find_suite(name: str) -> Suite | None:
    """Return a suite, of this package or an installed one; None if there is none.

    Raises:
        InvalidInput: Another package announces the name, but cannot deliver.
    """
    if name in SUITES:
        return SUITES[name]
    found = extension(name)
    return found if isinstance(found, Suite) else None


def suite_names() -> tuple[str, ...]:
    """Return every name of a suite, and what other packages announce; nothing is loaded."""
    return (*SUITES, *extension_names())
