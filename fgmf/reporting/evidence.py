"""Reading a verdict's evidence: open by design, so every look at it is checked.

Evidence may come from a gate kind of somebody else. What is missing or of another type reads
as nothing, because a report must not be lost over a field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fgmf.reporting.text import printable

if TYPE_CHECKING:
    from fgmf.types import Json


def text_of(evidence: Mapping[str, Json], key: str) -> str:
    """Return a printable text, empty if there is none."""
    value = evidence.get(key)
    return printable(value) if isinstance(value, str) else ""


def integer_of(evidence: Mapping[str, Json], key: str) -> int | None:
    """Return an integer, None if there is none."""
    value = evidence.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def number_of(evidence: Mapping[str, Json], key: str) -> float | None:
    """Return a number, None if there is none."""
    value = evidence.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def integers_of(evidence: Mapping[str, Json], key: str) -> list[int]:
    """Return the integers of a list, empty if there is none."""
    value = evidence.get(key)
    if not isinstance(value, list):
        return []
    return [entry for entry in value if isinstance(entry, int) and not isinstance(entry, bool)]


def texts_of(evidence: Mapping[str, Json], key: str) -> list[str]:
    """Return the texts of a list, printable, empty if there is none."""
    value = evidence.get(key)
    if not isinstance(value, list):
        return []
    return [printable(entry) for entry in value if isinstance(entry, str)]


def records_of(evidence: Mapping[str, Json], key: str) -> list[Mapping[str, Json]]:
    """Return the objects of a list, empty if there is none."""
    value = evidence.get(key)
    if not isinstance(value, list):
        return []
    return [entry for entry in value if isinstance(entry, Mapping)]


def groups_of(evidence: Mapping[str, Json], key: str) -> dict[str, Mapping[str, Json]]:
    """Return the objects of an object by name, empty if there is none."""
    value = evidence.get(key)
    if not isinstance(value, Mapping):
        return {}
    return {str(name): entry for name, entry in value.items() if isinstance(entry, Mapping)}
