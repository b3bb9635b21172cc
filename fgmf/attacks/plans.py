"""Which attacks run, with which parameters and how often: values only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fgmf.attacks.catalogue import find_entry
from fgmf.attacks.entries import Value
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fgmf.attacks.entries import CatalogueEntry

Parameters = dict[str, Value]


@dataclass(frozen=True, kw_only=True)
class AttackPlan:
    """One attack of a gate, ready to run.

    Attributes:
        label: Unique in the gate; part of the random streams' names.
        name: Name in gate files.
        parameters: All parameters, defaults filled in.
        restarts: Independent runs; 1 for attacks that draw nothing.
    """

    label: str
    name: str
    parameters: Parameters
    restarts: int

    @property
    def entry(self) -> CatalogueEntry:
        """What is said of it.

        Raises:
            InvalidInput: There is no attack of the name.
        """
        entry = find_entry(self.name)
        if entry is None:
            raise InvalidInput(f"expected the name of an attack, got {self.name!r}")
        return entry

    @property
    def calls(self) -> int:
        """How often it is called: once if it sees to its restarts itself."""
        return 1 if self.entry.whole_list else self.restarts


def plan_attacks(
    named: Sequence[tuple[str, Mapping[str, Value], int | None]], *, restarts: int
) -> tuple[AttackPlan, ...]:
    """Fill in defaults and give each attack a label that is unique in its gate.

    Args:
        named: Name, parameters and own restarts (None: the gate's) of each attack, in order.
        restarts: The gate's restarts.

    Returns:
        One plan per entry; labels are ``pgd``, ``pgd-2``, …

    Raises:
        InvalidInput: There is no attack of a name.
    """
    plans = []
    seen: dict[str, int] = {}
    for name, parameters, own_restarts in named:
        plan = AttackPlan(label="", name=name, parameters={}, restarts=1)
        entry = plan.entry
        seen[name] = seen.get(name, 0) + 1
        defaults = {key: parameter.default for key, parameter in entry.parameters.items()}
        merged = defaults | dict(parameters)
        draws = entry.random and merged.get("random_start", True) is not False
        plans.append(
            replace(
                plan,
                label=name if seen[name] == 1 else f"{name}-{seen[name]}",
                parameters=merged,
                restarts=(own_restarts or restarts) if draws else 1,
            )
        )
    return tuple(plans)
