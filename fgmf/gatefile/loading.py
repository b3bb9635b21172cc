"""From the tables of a gate file to a checked :class:`GateFile`.

    head, models, data, profiles    each against its table
    for each [[gate]]:              kind -> class; lists -> several gates
        for no profile and each declared one:  the class validates table + overrides
    names                           distinct, models known, profiles known
    any problem                     all of them in one InvalidGateFile

Gates are validated under every declared profile, so that a nightly profile that cannot work is
found in a pull request.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from fgmf.errors import InvalidGateFile, Problem
from fgmf.gatefile.contents import GateFile
from fgmf.gatefile.expansion import Variant, empty_lists, expand
from fgmf.gatefile.names import (
    duplicated_names,
    model_problems,
    name_problems,
    standalone_problems,
    surrogate_problems,
)
from fgmf.gatefile.profiles import KNOWN_PROFILES, without_rivals
from fgmf.gatefile.reading import Document, read_document
from fgmf.gatefile.tables import (
    DataTable,
    HeadTable,
    ModelTable,
    ProfileTable,
    SourceTable,
    source_problems,
)
from fgmf.gates import gate_kinds
from fgmf.gates.problems import problems_of
from fgmf.gates.specification import needs_images

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from fgmf.gates.specification import GateSpecification

_Checked = TypeVar("_Checked", bound=BaseModel)
_HEAD_KEYS = ("schema", "seed")
_KEYS = (*_HEAD_KEYS, "model", "data", "profiles", "gate")


@dataclass(frozen=True, kw_only=True)
class LocatedGate:
    """A gate and the position of its ``[[gate]]`` table."""

    gate: GateSpecification
    index: int


@dataclass(kw_only=True)
class Reader:
    """Checks the parts of one document and collects what is wrong with them."""

    document: Document
    profile: str
    problems: list[Problem] = field(default_factory=list)

    def report(self, place: str, expected: str, got: str) -> None:
        """Note a problem at a place inside the gate file's own tables."""
        location = ".".join((*self.document.prefix, place))
        self.problems.append(Problem(location=location, expected=expected, got=got))

    def checked(self, table: type[_Checked], value: object, *place: str | int) -> _Checked | None:
        """Validate one table; None if it has problems, which are noted."""
        if issubclass(table, SourceTable):
            for problem in source_problems(value):
                self.report(f"{joined(place)}.{problem.location}", problem.expected, problem.got)
        try:
            return table.model_validate(value)
        except ValidationError as error:
            prefix = (*self.document.prefix, *place)
            self.problems += problems_of(error, prefix=prefix, model=table)
            return None


def load(path: Path, *, profile: str) -> GateFile:
    """Read and check a gate file as seen by `profile`.

    Raises:
        InvalidGateFile: With every problem of the file.
    """
    document = read_document(path)
    reader = Reader(document=document, profile=profile)
    _check_keys(reader)
    head_values = {k: v for k, v in document.tables.items() if k in _HEAD_KEYS}
    head = reader.checked(HeadTable, head_values)
    gates_given = document.tables.get("gate")
    model_needed = _is_any(gates_given, lambda kind: not kind.stands_alone)
    models = _models(reader) if model_needed or "model" in document.tables else []
    data_needed = _is_any(gates_given, needs_images)
    data = _data(reader) if data_needed or "data" in document.tables else None
    profiles = _profiles(reader)
    located = _gates(reader, profiles)
    gates = [entry.gate for entry in located]
    model_names = [model.name for model in models]
    found = (
        *duplicated_names(located),
        *model_problems(located, model_names),
        *standalone_problems(located),
        *surrogate_problems(located, model_names),
    )
    for place, problem in found:
        reader.report(place, problem.expected, problem.got)
    running = [gate for gate in gates if not gate.profiles or profile in gate.profiles]
    _check_profile(reader, profiles, any_left=bool(running) or not gates)
    if reader.problems or head is None:
        raise InvalidGateFile(str(path), list(dict.fromkeys(reader.problems)))
    return GateFile(
        path=path,
        digest=document.digest,
        seed=head.seed,
        models=tuple(model.entry(path.parent) for model in models),
        data=None if data is None else data.entry(path.parent),
        profile=profile,
        gates=tuple(running),
        left_out=tuple(
            gate.name for gate in gates if gate.profiles and profile not in gate.profiles
        ),
        lines=_lines(document, located),
    )


def _check_keys(reader: Reader) -> None:
    for key in reader.document.tables:
        if key not in _KEYS:
            reader.report(key, f"one of the keys {', '.join(_KEYS)}", "an unknown key")


def _is_any(gates: object, asked: Callable[[type[GateSpecification]], bool]) -> bool:
    """Say whether a file may hold a gate of a kind that is asked for; unknown kinds count.

    Args:
        gates: The value of ``gate`` as it is in the file.
        asked: Says it of one kind.
    """
    if not isinstance(gates, list) or not gates:
        return True
    try:
        known = gate_kinds()
    except Exception:  # noqa: BLE001 - said when the gates are read
        return True
    kinds = [entry.get("kind") if isinstance(entry, dict) else None for entry in gates]
    return any(not isinstance(k, str) or k not in known or asked(known[k]) for k in kinds)


def _models(reader: Reader) -> list[ModelTable]:
    value = reader.document.tables.get("model")
    if value is None:
        reader.report("model", "a table [model] with `factory` (or `path`) and `bounds`", "nothing")
        return []
    if not isinstance(value, list):
        model = reader.checked(ModelTable, value, "model")
        return [] if model is None else [model]
    if not value:
        reader.report("model", "at least one [[model]]", "an empty list")
    models = []
    for index, entry in enumerate(value):
        if len(value) > 1 and isinstance(entry, dict) and "name" not in entry:
            reader.report(f"model[{index}].name", "a name, as there are several models", "nothing")
        model = reader.checked(ModelTable, entry, "model", index)
        if model is not None:
            models.append(model)
    for name in duplicates([model.name for model in models if model.name]):
        reader.report("model", "[[model]] tables with distinct names", f"{name!r} more than once")
    return models


def joined(place: Sequence[str | int]) -> str:
    """Write a place inside the file, such as ``model[1]``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


def duplicates(names: list[str]) -> list[str]:
    """Return the names that occur more than once, each once."""
    return [name for name in dict.fromkeys(names) if names.count(name) > 1]


def _data(reader: Reader) -> DataTable | None:
    value = reader.document.tables.get("data")
    if value is None:
        reader.report("data", "a table [data] with `factory` or `path`", "nothing")
        return None
    return reader.checked(DataTable, value, "data")


def _profiles(reader: Reader) -> dict[str, dict[str, Any]]:
    """Return the overrides of each declared profile, as they are in the file."""
    value = reader.document.tables.get("profiles", {})
    if not isinstance(value, dict):
        reader.report("profiles", "tables [profiles.NAME]", repr(value)[:80])
        return {}
    sound = {}
    for name, entry in value.items():
        checked = reader.checked(ProfileTable, entry, "profiles", name)
        sound[name] = dict(entry) if checked is not None else {}
    return sound


def _gates(reader: Reader, profiles: Mapping[str, Mapping[str, Any]]) -> list[LocatedGate]:
    value = reader.document.tables.get("gate", [])
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        got = "one table [gate]" if isinstance(value, dict) else repr(value)[:80]
        reader.report("gate", "tables [[gate]], in double brackets", got)
        return []
    if not value:
        reader.report("gate", "at least one [[gate]]", "nothing")
    kinds = _kinds(reader)
    located = []
    for index, entry in enumerate(value):
        kind = kinds.get(entry.get("kind")) if isinstance(entry.get("kind"), str) else None
        if kind is None:
            got = repr(entry["kind"]) if "kind" in entry else "nothing"
            reader.report(f"gate[{index}].kind", f"one of {', '.join(sorted(kinds))}", got)
        else:
            gates = _entry_gates(reader, index, kind, profiles)
            located += [LocatedGate(gate=gate, index=index) for gate in gates]
    return located


def _kinds(reader: Reader) -> Mapping[str, type[GateSpecification]]:
    try:
        return gate_kinds()
    except Exception as error:  # noqa: BLE001 - other packages' entry points may raise anything
        got = f"{type(error).__name__}: {error}"
        reader.report("gate", "gate kinds of installed packages that can be imported", got)
        return {}


def _entry_gates(
    reader: Reader,
    index: int,
    kind: type[GateSpecification],
    profiles: Mapping[str, Mapping[str, Any]],
) -> list[GateSpecification]:
    """Validate one ``[[gate]]`` under every profile; return its gates under the active one."""
    entry = reader.document.tables["gate"][index]
    place = f"gate[{index}]"
    fields = kind.model_fields
    known = {*KNOWN_PROFILES, *profiles}
    for problem in (*empty_lists(entry, keys=fields), *name_problems(entry, profiles=known)):
        reader.report(f"{place}.{problem.location}", problem.expected, problem.got)
    gates = []
    for variant in expand(entry, keys=fields):
        base = _constructed(reader, place, kind, variant)
        for name, overrides in profiles.items():
            if not _runs_in(entry, name):
                continue
            usable = {key: value for key, value in overrides.items() if key in fields}
            kept = without_rivals(variant.values, usable)
            overridden = Variant(values={**kept, **usable}, positions=variant.positions)
            gate = _constructed(reader, place, kind, overridden, profile=(name, usable))
            base = gate if name == reader.profile else base
        if base is not None:
            gates.append(base)
    return gates


def _runs_in(entry: Mapping[str, Any], profile: str) -> bool:
    """Say whether a ``[[gate]]`` table, which may still be broken, is run by a profile."""
    wanted = entry.get("profiles")
    return not isinstance(wanted, list) or not wanted or profile in wanted


def _constructed(
    reader: Reader,
    place: str,
    kind: type[GateSpecification],
    variant: Variant,
    *,
    profile: tuple[str, Mapping[str, Any]] = ("", {}),
) -> GateSpecification | None:
    try:
        return kind(**variant.values)
    except InvalidGateFile as error:
        for problem in map(variant.locate, error.problems):
            within = problem.location.split(".")[0].split("[")[0] in profile[1]
            above = f"profiles.{profile[0]}" if within else place
            whole = problem.location.startswith("(")
            location = above if whole else f"{above}.{problem.location}"
            reader.report(location, problem.expected, problem.got)
        return None


def _check_profile(
    reader: Reader, profiles: Mapping[str, Mapping[str, Any]], *, any_left: bool
) -> None:
    known = (*KNOWN_PROFILES, *(name for name in profiles if name not in KNOWN_PROFILES))
    problem = None
    if reader.profile not in known:
        problem = f"one of {', '.join(known)}", repr(reader.profile)
    elif not any_left:
        problem = "a profile that runs at least one gate", f"{reader.profile!r}, which runs none"
    if problem is not None:
        reader.problems.append(
            Problem(location="(the active profile)", expected=problem[0], got=problem[1])
        )


def _lines(document: Document, located: list[LocatedGate]) -> dict[str, int]:
    if len(document.gate_lines) != len(document.tables["gate"]):
        return {}
    return {entry.gate.name: document.gate_lines[entry.index] for entry in located}
