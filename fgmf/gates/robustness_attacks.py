"""Which attacks a robustness gate runs: those it names, or those of a suite. No torch here."""

from __future__ import annotations

from pathlib import PurePath, PureWindowsPath
from typing import TYPE_CHECKING

from fgmf.attacks.catalogue import attack_names, find_entry
from fgmf.attacks.catalogue_outside import KNOWN, TRAINED, TRANSFER
from fgmf.attacks.catalogue_own import DRAWS
from fgmf.attacks.plans import AttackPlan, Parameters, plan_attacks
from fgmf.attacks.suites import (
    DEFAULT_SUITE,
    GRADIENT_FREE_SUITE,
    Suite,
    SuiteAttack,
    find_suite,
    suite_names,
)
from fgmf.errors import InvalidInput
from fgmf.gates.problems import Misfit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fgmf.attacks.entries import CatalogueEntry
    from fgmf.gates.robustness import RobustnessGate


def attack_entry(name: str) -> CatalogueEntry | Misfit:
    """Return the entry of an attack, or what is wrong with its name."""
    try:
        entry = find_entry(name)
    except InvalidInput as error:
        return Misfit("name", "an attack that its package can deliver", str(error))
    if entry is None:
        return Misfit("name", f"the name of an attack, one of {', '.join(attack_names())}", name)
    return entry


def attack_misfits(gate: RobustnessGate) -> Iterator[Misfit]:
    """Say which of the attacks that a gate asks for cannot be run as it asks."""
    if gate.suite is not None:
        yield from _suite_misfits(gate, gate.suite)
    for attack in gate.attacks:
        entry = attack_entry(attack.name)
        if not isinstance(entry, Misfit):
            yield from _entry_misfits(gate, entry)
        if attack.name == KNOWN:
            path = str(attack.parameters.get("path", ""))
            yield from _path_misfits(path, key="attacks")
    if gate.known_examples is not None:
        yield from _path_misfits(gate.known_examples or "/", key="known_examples")
    if gate.attacks and all(attack.name == KNOWN for attack in gate.attacks):
        allowed = f"an attack beside {KNOWN}, which speak of the model that they were made on"
        yield Misfit("attacks", allowed, KNOWN)


def surrogate_names(gate: RobustnessGate) -> tuple[str, ...]:
    """Return the names of the other models that a gate names as surrogates."""
    named = [a.parameters.get("surrogate", TRAINED) for a in gate.attacks if a.name == TRANSFER]
    return tuple(dict.fromkeys(str(name) for name in named if name != TRAINED))


def _path_misfits(path: str, *, key: str) -> Iterator[Misfit]:
    given = PurePath(path)
    if given.is_absolute() or PureWindowsPath(path).drive or ".." in given.parts:
        yield Misfit(key, "a path inside the directory of the gate file", path)


def suite_of(gate: RobustnessGate, *, gradient_available: bool) -> Suite | None:
    """Return the suite that a gate runs; None if it names its attacks."""
    if gate.attacks:
        return None
    default = DEFAULT_SUITE if gradient_available else GRADIENT_FREE_SUITE
    return find_suite(gate.suite or default)


def gate_plans(
    gate: RobustnessGate, *, gradient_available: bool, random_output: bool = False
) -> tuple[AttackPlan, ...]:
    """Return the attacks that a gate runs.

    Args:
        gate: Its specification.
        gradient_available: Whether the model has gradients.
        random_output: Whether the model's output is known to be random: a suite then averages
            over draws (EOT), where it says so.

    Raises:
        InvalidInput: An attack needs gradients that the model does not have, or there is none
            for the norm.
    """
    suite = suite_of(gate, gradient_available=gradient_available)
    if suite is None:
        named = [(attack.name, attack.parameters, attack.restarts) for attack in gate.attacks]
    else:
        draws = suite.draws if random_output else 1
        chosen = suite.attacks_for(gate.norm, gate.criterion, random_output=random_output)
        named = [named_attack(attack, draws=draws) for attack in chosen]
    if not named:
        message = f"attacks that need no gradient for norm {gate.norm}, but there are none"
        raise InvalidInput(f"expected {message}; gate the PyTorch model")
    if gate.known_examples is not None:
        named = [(KNOWN, {"path": gate.known_examples}, None), *named]
    plans = plan_attacks(named, restarts=gate.restarts)
    if not gradient_available:
        _refuse_gradients(plans, suite)
    return plans


def named_attack(attack: SuiteAttack, *, draws: int) -> tuple[str, Parameters, int | None]:
    """Return an attack of a suite as it is planned, averaging over draws where it can."""
    parameters = dict(attack.parameters)
    entry = find_entry(attack.name)
    if draws > 1 and entry is not None and DRAWS in entry.parameters:
        parameters.setdefault(DRAWS, draws)
    return attack.name, parameters, attack.restarts


def _refuse_gradients(plans: Sequence[AttackPlan], suite: Suite | None) -> None:
    for plan in plans:
        if plan.entry.needs_gradient:
            who = f"{plan.name} of suite {suite.name}" if suite else plan.name
            message = f"expected a model with gradients for {who}, got one without"
            choose = f'use suite = "{GRADIENT_FREE_SUITE}", or gate the PyTorch model'
            raise InvalidInput(f"{message}; {choose}")


def _suite_misfits(gate: RobustnessGate, name: str) -> Iterator[Misfit]:
    if gate.attacks:
        yield Misfit("suite", "either a suite or attacks", "both")
    try:
        suite = find_suite(name)
    except InvalidInput as error:
        yield Misfit("suite", "a suite that its package can deliver", str(error))
        return
    if suite is None:
        yield Misfit("suite", f"the name of a suite, one of {', '.join(suite_names())}", name)
        return
    attacks = suite.attacks_for(gate.norm, gate.criterion)
    if not attacks:
        norms = ", ".join(suite.attacks)
        yield Misfit("suite", f"a suite for norm {gate.norm!r} ({name} is for {norms})", name)
    for attack in attacks:
        entry = attack_entry(attack.name)
        if isinstance(entry, Misfit):
            yield entry._replace(key="suite")
        else:
            yield from (misfit._replace(key="suite") for misfit in _entry_misfits(gate, entry))


def _entry_misfits(gate: RobustnessGate, entry: CatalogueEntry) -> Iterator[Misfit]:
    if gate.norm not in entry.norms:
        norms = ", ".join(entry.norms)
        allowed = f"attacks for norm {gate.norm!r} ({entry.name} is for {norms})"
        yield Misfit("attacks", allowed, entry.name)
    if gate.criterion == "targeted" and not entry.targeted:
        yield Misfit("attacks", "attacks that can aim at the target", entry.name)
