"""Which attacks a robustness gate runs: those it names, or the default for its norm. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.attacks.catalogue import (
    CATALOGUE,
    DEFAULT_ATTACKS,
    DEFAULT_PARAMETERS,
    GRADIENT_FREE_ATTACKS,
    TARGETED_ATTACKS,
)
from fgmf.attacks.plans import AttackPlan, plan_attacks
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from fgmf.gates.robustness import RobustnessGate


def gate_plans(gate: RobustnessGate, *, gradient_available: bool) -> tuple[AttackPlan, ...]:
    """Return the attacks that a gate runs.

    Args:
        gate: Its specification.
        gradient_available: Whether the model has gradients.

    Raises:
        InvalidInput: An attack needs gradients that the model does not have, cannot aim at a
            target as asked, or there is none for the norm.
    """
    named = [(attack.name, attack.parameters, attack.restarts) for attack in gate.attacks]
    if not named:
        table = DEFAULT_ATTACKS if gate.criterion != "targeted" else TARGETED_ATTACKS
        if not gradient_available:
            table = GRADIENT_FREE_ATTACKS
        named = [(n, dict(DEFAULT_PARAMETERS.get(n, {})), None) for n in table[gate.norm]]
    if not named:
        message = f"attacks that need no gradient for norm {gate.norm}, but there are none"
        raise InvalidInput(f"expected {message}; gate the PyTorch model")
    for name, _, _ in named:
        entry = CATALOGUE[name]
        if entry.needs_gradient and not gradient_available:
            free = ", ".join(e.name for e in CATALOGUE.values() if not e.needs_gradient)
            message = f"expected a model with gradients for {name}, got one without"
            raise InvalidInput(f"{message}; choose from {free}, or gate the PyTorch model")
        if gate.criterion == "targeted" and not entry.targeted:
            raise InvalidInput(f"expected attacks that can aim at a target, got {name}")
    return plan_attacks(named, restarts=gate.restarts)
