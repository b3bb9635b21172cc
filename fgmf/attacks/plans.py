"""Which attacks run, with which parameters and how often: values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fgmf.attacks.catalogue import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.attacks.catalogue import CatalogueEntry

Parameters = dict[str, bool | int | float]


@dataclass(frozen=True, kw_only=True)
class AttackPlan:
    """One attack of a gate, ready to run.

    Attributes:
        label: Unique in the gate; part of the random streams' names.
        name: Name in the catalogue.
        parameters: All parameters, defaults filled in.
        restarts: Independent runs; 1 for attacks that draw nothing.
    """

    label: str
    name: str
    parameters: Parameters
    restarts: int

    @property
    def entry(self) -> CatalogueEntry:
        """Its catalogue entry."""
        return CATALOGUE[self.name]


def plan_attacks(
    named: Sequence[tuple[str, Parameters, int | None]], *, restarts: int
) -> tuple[AttackPlan, ...]:
    """Fill in defaults and give each attack a label that is unique in its gate.

    Args:
        named: Name, parameters and own restarts (None: the gate's) of each attack, in order.
        restarts: The gate's restarts.

    Returns:
        One plan per entry; labels are ``pgd``, ``pgd-2``, …
    """
    plans = []
    seen: dict[str, int] = {}
    for name, parameters, own_restarts in named:
        entry = CATALOGUE[name]
        seen[name] = seen.get(name, 0) + 1
        defaults = {key: parameter.default for key, parameter in entry.parameters.items()}
        merged = defaults | parameters
        draws = entry.random and merged.get("random_start", True) is not False
        plans.append(
            AttackPlan(
                label=name if seen[name] == 1 else f"{name}-{seen[name]}",
                name=name,
                parameters=merged,
                restarts=(own_restarts or restarts) if draws else 1,
            )
        )
    return tuple(plans)
