"""`quick`, `standard`, and our own attacks at AutoAttack's full length, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fgmf.attacks.own import Apgd, MinimumNorm, Square
from fgmf.attacks.own_bridge import algorithm_of
from fgmf.attacks.plans import plan_attacks
from fgmf.attacks.suites import SUITES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fgmf.attacks.own import AttackOutcome, AttackTask, MinimumNormOutcome
    from fgmf.attacks.own.task import LogitsFunction
    from fgmf.attacks.suites import SuiteAttack


class OwnAttack(Protocol):
    """Any of `fgmf.attacks.own`."""

    def run(
        self, logits: LogitsFunction, task: AttackTask, *, batch_size: int = 128
    ) -> AttackOutcome | MinimumNormOutcome:
        """Attack."""


@dataclass(frozen=True, kw_only=True)
class Composition:
    """Attacks in order, each on the images that the ones before left.

    Attributes:
        attacks: By name.
        random_attacks: The same for random networks; None: `attacks`.
        draws: Of expectation over transformation, for random networks.
    """

    attacks: Mapping[str, OwnAttack]
    random_attacks: Mapping[str, OwnAttack] | None = None
    draws: int = 1

    def on(self, *, random: bool) -> tuple[Mapping[str, OwnAttack], int]:
        """Return the attacks on a network, and the draws of each of its answers."""
        if not random:
            return self.attacks, 1
        return self.random_attacks or self.attacks, self.draws


def _of_suite(name: str) -> Composition:
    """A suite as gates run it."""
    suite = SUITES[name]

    def planned(attacks: Iterable[SuiteAttack]) -> dict[str, OwnAttack]:
        named = [(each.name, each.parameters, each.restarts) for each in attacks]
        return {plan.label: algorithm_of(plan) for plan in plan_attacks(named, restarts=1)}

    return Composition(
        attacks=planned(suite.attacks["linf"]),
        random_attacks=planned(suite.attacks_for("linf", "misclassification", random_output=True)),
        draws=suite.draws,
    )


COMPOSITIONS: dict[str, Composition] = {
    "quick": _of_suite("quick"),
    "standard": _of_suite("standard"),
    "full": Composition(
        attacks={
            "apgd-ce": Apgd(loss="ce", steps=100),
            "apgd-t": Apgd(loss="dlr", steps=100, targets=9),
            "minimum-norm": MinimumNorm(steps=100, targets=9),
            "square": Square(queries=5000),
        },
        random_attacks={
            "apgd-ce": Apgd(loss="ce", steps=100),
            "apgd-dlr": Apgd(loss="dlr", steps=100),
        },
        draws=20,
    ),
}
