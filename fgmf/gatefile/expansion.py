"""One ``[[gate]]`` becomes several where norms or budgets are lists.

    for each combination of the listed values, in the order of the lists:
        name = <name or kind>@<norm>-<epsilon>

The suffix comes from what is written in the file, not from a position in a list, so that adding
a budget renames no other gate.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any, Final

from fgmf.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

EXPANDED_KEYS: Final = ("norm", "epsilon")
"""Keys whose value may be a list: one gate for each entry."""

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._=@/-]")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One combination of listed values of a ``[[gate]]`` table.

    Attributes:
        values: The table with one value in place of each list, and its name.
        positions: For each key that was a list, the position of the value in it.
    """

    values: Mapping[str, Any]
    positions: Mapping[str, int]

    def locate(self, problem: Problem) -> Problem:
        """Point a problem of the variant to the list entry that it came from."""
        key = re.split(r"[.\[]", problem.location, maxsplit=1)[0]
        if key not in self.positions:
            return problem
        place = f"{key}[{self.positions[key]}]{problem.location[len(key) :]}"
        return replace(problem, location=place)


def expand(entry: Mapping[str, Any], *, keys: Collection[str]) -> list[Variant]:
    """Expand the lists of one ``[[gate]]`` table.

    Args:
        entry: The table, with a ``kind``; its values are not checked.
        keys: Keys that the gate's kind has; lists under other keys are left alone.

    Returns:
        One variant per combination; none if a list is empty.
    """
    listed = [key for key in EXPANDED_KEYS if key in keys and isinstance(entry.get(key), list)]
    variants = []
    for choice in product(*(enumerate(entry[key]) for key in listed)):
        positions = {key: position for key, (position, _) in zip(listed, choice, strict=True)}
        values = dict(entry)
        values |= {key: value for key, (_, value) in zip(listed, choice, strict=True)}
        values["name"] = _name(values, suffixed=bool(listed), keys=keys)
        variants.append(Variant(values=values, positions=positions))
    return variants


def empty_lists(entry: Mapping[str, Any], *, keys: Collection[str]) -> list[Problem]:
    """Return a problem for each list that names no value at all."""
    return [
        Problem(location=key, expected="at least one value", got="an empty list")
        for key in EXPANDED_KEYS
        if key in keys and entry.get(key) == []
    ]


def _name(values: Mapping[str, Any], *, suffixed: bool, keys: Collection[str]) -> object:
    name = values.get("name", values["kind"])
    if not suffixed or not isinstance(name, str):
        return name
    shown = [str(values[key]) for key in EXPANDED_KEYS if key in keys and key in values]
    return f"{name}@{_NOT_IN_NAMES.sub('', '-'.join(shown))}"
