"""Names inside a gate file: distinct, safe as part of a path, and pointing to what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fgmf.attacks.catalogue_outside import TRAINED
from fgmf.errors import Problem
from fgmf.gates.robustness import RobustnessGate
from fgmf.gates.robustness_attacks import surrogate_names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from fgmf.gatefile.loading import LocatedGate

_UNSAFE_PARTS = frozenset({"", ".", ".."})


def name_problems(entry: Mapping[str, Any], *, profiles: Collection[str]) -> Iterator[Problem]:
    """Check the name and the profiles of one ``[[gate]]`` table.

    Args:
        entry: The table; values of a wrong type are left to the gate's kind.
        profiles: Profiles that there are.
    """
    name = entry.get("name")
    if name == "":
        expected = "a name, or no key `name` (an unnamed gate takes its kind)"
        yield Problem(location="name", expected=expected, got="''")
    elif isinstance(name, str) and name[0].isalnum() and _has_unsafe_parts(name):
        expected = "a name without empty, '.' or '..' parts between slashes"
        yield Problem(location="name", expected=expected, got=repr(name))
    wanted = entry.get("profiles")
    for position, profile in enumerate(wanted if isinstance(wanted, list) else []):
        if isinstance(profile, str) and profile not in profiles:
            expected = f"one of {', '.join(sorted(profiles))}, or a declared [profiles.NAME]"
            yield Problem(location=f"profiles[{position}]", expected=expected, got=repr(profile))


def _has_unsafe_parts(name: str) -> bool:
    return not _UNSAFE_PARTS.isdisjoint(name.split("/"))


def duplicated_names(located: Sequence[LocatedGate]) -> Iterator[tuple[str, Problem]]:
    """Find gates that have the name of an earlier one.

    Yields:
        The place of the later gate, and the problem.
    """
    first: dict[str, int] = {}
    for entry in located:
        name = entry.gate.name
        if name in first:
            got = f"{name!r}, the name of gate[{first[name]}]"
            if first[name] == entry.index:
                got = f"{name!r} twice, from a list with equal entries"
            expected = "a name that no other gate has (an unnamed gate takes its kind)"
            place = f"gate[{entry.index}].name"
            yield place, Problem(location=place, expected=expected, got=got)
        first.setdefault(name, entry.index)


def model_problems(
    located: Sequence[LocatedGate], names: Sequence[str | None]
) -> Iterator[tuple[str, Problem]]:
    """Find gates whose `model` is missing or unknown.

    Args:
        located: The gates.
        names: Names of the models; None for one without a name. Empty if the models are broken
            themselves, and then nothing is said.

    Yields:
        The place of the gate, and the problem.
    """
    if not names:
        return
    known = [name for name in names if name is not None]
    for entry in located:
        if entry.gate.stands_alone:
            continue
        chosen = entry.gate.model
        missing = chosen is None and len(names) > 1
        if missing or (chosen is not None and chosen not in known):
            shown = "nothing" if chosen is None else repr(chosen)
            allowed = f"the name of a model, one of {', '.join(known)}"
            expected = allowed if known else "no `model`: the only [model] has no name"
            place = f"gate[{entry.index}].model"
            yield place, Problem(location=place, expected=expected, got=shown)


def standalone_problems(located: Sequence[LocatedGate]) -> Iterator[tuple[str, Problem]]:
    """Find gates that name a model and are about none.

    Yields:
        The place of the gate, and the problem.
    """
    for entry in located:
        if entry.gate.stands_alone and entry.gate.model is not None:
            expected = "no `model`: a gate of this kind is about none"
            place = f"gate[{entry.index}].model"
            yield place, Problem(location=place, expected=expected, got=repr(entry.gate.model))


def surrogate_problems(
    located: Sequence[LocatedGate], names: Sequence[str | None]
) -> Iterator[tuple[str, Problem]]:
    """Find gates whose attacks name a surrogate that is no model of the file.

    Args:
        located: The gates.
        names: Names of the models; empty if the models are broken themselves.

    Yields:
        The place of the gate, and the problem.
    """
    if not names:
        return
    known = [name for name in names if name is not None]
    for entry in located:
        if not isinstance(entry.gate, RobustnessGate):
            continue
        for name in surrogate_names(entry.gate):
            if name not in known:
                place = f"gate[{entry.index}].attacks"
                expected = f"surrogate = one of {', '.join((TRAINED, *known))}"
                yield place, Problem(location=place, expected=expected, got=repr(name))
