"""The attacks that a gate can name, their parameters, and what each needs: plain data.

Nothing heavy is imported, so a gate file can be checked without torch or Foolbox. `building`
turns an entry into an attack. Installed packages add entries: `extensions`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from fgmf.attacks.catalogue_foolbox import FOOLBOX_ENTRIES
from fgmf.attacks.catalogue_outside import OUTSIDE_ENTRIES
from fgmf.attacks.catalogue_own import OWN_ENTRIES
from fgmf.attacks.entries import CatalogueEntry, Parameter
from fgmf.attacks.extensions import AttackExtension, extension, extension_names

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CATALOGUE", "CatalogueEntry", "Parameter", "attack_names", "find_entry"]

CATALOGUE: Mapping[str, CatalogueEntry] = MappingProxyType(
    {entry.name: entry for entry in (*OWN_ENTRIES, *OUTSIDE_ENTRIES, *FOOLBOX_ENTRIES)}
)
"""Every attack of this package."""


def find_entry(name: str) -> CatalogueEntry | None:
    """Return the entry of an attack, of this package or an installed one; None if there is none.

    Raises:
        InvalidInput: Another package announces the name, but cannot deliver.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    found = extension(name)
    return found.entry if isinstance(found, AttackExtension) else None


def attack_names() -> tuple[str, ...]:
    """Return every name that can stand in a gate, sorted; other packages' suites among them.

    Whether another package's name is an attack or a suite is known only once it is loaded, and
    nothing is loaded here.
    """
    return tuple(sorted({*CATALOGUE, *extension_names()}))
