"""Attacks and suites of other packages: the entry-point group ``fgmf.attacks``.

The name of an entry point is the name in gate files; its object is one of

    AttackExtension(entry=CatalogueEntry(name=..., engine="extension", ...), build=function)
    Suite(name=..., ...)                                            (`fgmf.attacks.suites`)

``build(plan, classifier, threat, *, seed, deadline)`` returns an attack (`interface.Attack`). The
module that holds the object is imported while a gate file is checked, so it should import torch
inside its functions. It is imported only when a gate names it. Names of the library's own attacks
and suites cannot be taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from fgmf.attacks.entries import CatalogueEntry
    from fgmf.attacks.interface import Attack
    from fgmf.attacks.plans import AttackPlan
    from fgmf.classifier import Classifier
    from fgmf.threat import ThreatModel

GROUP = "fgmf.attacks"


class Build(Protocol):
    """Makes an attack of a plan."""

    def __call__(
        self,
        plan: AttackPlan,
        classifier: Classifier,
        threat: ThreatModel,
        *,
        seed: int,
        deadline: float | None,
    ) -> Attack:
        """Bind an attack to a classifier, a threat model and a seed.

        Args:
            plan: Which attack, with which parameters.
            classifier: Must be inside its guard while attacked.
            threat: Ball and box.
            seed: The gate's seed.
            deadline: Value of ``time.monotonic()`` after which the attack stops.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class AttackExtension:
    """An attack of another package.

    Attributes:
        entry: What is said of it; with the name of the entry point and ``engine="extension"``.
        build: Makes it.
    """

    entry: CatalogueEntry
    build: Build


def extension_names() -> tuple[str, ...]:
    """Return the names that installed packages announce; nothing is imported."""
    return tuple(sorted({entry.name for entry in entry_points(group=GROUP)}))


def extension(name: str) -> object | None:
    """Return what an installed package offers under a name.

    Args:
        name: Of the entry point.

    Returns:
        An `AttackExtension` or a `Suite`; None if no package announces the name.

    Raises:
        InvalidInput: Two packages announce it, it cannot be imported, or it is neither.
    """
    found = {entry.value: entry for entry in entry_points(group=GROUP) if entry.name == name}
    if not found:
        return None
    if len(found) > 1:
        places = " and ".join(sorted(found))
        raise InvalidInput(f"expected one package that offers {name!r}, got {places}")
    ((place, entry),) = found.items()
    try:
        offered: object = entry.load()
    except Exception as error:
        message = f"expected {name!r} of group {GROUP} at {place}, got "
        raise InvalidInput(f"{message}{type(error).__name__}: {error}") from error
    _check(name, place, offered)
    return offered


def _check(name: str, place: str, offered: object) -> None:
    from fgmf.attacks.suites import Suite

    own_name = getattr(offered, "name", None)
    if isinstance(offered, AttackExtension):
        own_name = offered.entry.name
        if offered.entry.engine != "extension":
            message = f"expected engine 'extension' in the entry of {place}, got "
            raise InvalidInput(message + repr(offered.entry.engine))
    elif not isinstance(offered, Suite):
        message = f"expected an AttackExtension or a Suite at {place} for {name!r}, got "
        raise InvalidInput(message + type(offered).__name__)
    if own_name != name:
        raise InvalidInput(
            f"expected the name {name!r} of its entry point at {place}, got {own_name!r}"
        )
