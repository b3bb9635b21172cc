"""`quick`, `standard`, and our own attacks at AutoAttack's full length, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fgmf.attacks.own import Apgd, MinimumMargin, MinimumNorm, Square

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgmf.attacks.own import AttackOutcome, AttackTask, MinimumNormOutcome
    from fgmf.attacks.own.task import LogitsFunction


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


COMPOSITIONS: dict[str, Composition] = {
    "quick": Composition(
        attacks={
            "apgd-ce": Apgd(loss="ce", steps=5, random_start=False),
            "minimum-margin": MinimumMargin(targets=1, steps=25, random_start=False),
        },
        random_attacks={
            "apgd-ce": Apgd(loss="ce", steps=3, random_start=False),
            "minimum-margin": MinimumMargin(targets=2, steps=5, random_start=False),
        },
        draws=2,
    ),
    "standard": Composition(
        attacks={
            "apgd-ce": Apgd(loss="ce", steps=5, random_start=False),
            "minimum-margin": MinimumMargin(targets=3, steps=25, random_start=False),
            "apgd-t": Apgd(loss="dlr", targets=2, steps=60),
        },
        random_attacks={
            "apgd-ce": Apgd(loss="ce", steps=5, random_start=False),
            "minimum-margin": MinimumMargin(targets=2, steps=12, random_start=False),
            "apgd-t": Apgd(loss="dlr", targets=1, steps=40),
        },
        draws=2,
    ),
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
