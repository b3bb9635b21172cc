"""From a matrix file to the recipe and the gates of every run.

A cell is named as tox names environments: ``BACKBONE-DEFENCE-THREAT``, and has a run for every seed
of the file. A run's recipe is that of the file with backbone, defence and seed put in; its gates
are those of the file on what was trained, with norm and epsilon of the threat where the kind takes
them. Both are checked by `fgmf train` and `fgmf check`.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fgmf.canonical import write_atomically
from fgmf.errors import InvalidGateFile, Problem
from fgmf.threat import parse_epsilon

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_TABLES: Final = frozenset(
    {
        *("schema", "output", "seeds", "reference", "backbones", "defences", "threats"),
        *("recipe", "model", "data", "gate"),
    }
)
_WITH_THREAT: Final = frozenset({"robustness", "gradient-masking", "attack-selftest"})
"""Kinds of gates that take a norm and an epsilon."""


@dataclass(frozen=True, kw_only=True)
class CellRun:
    """One seed of a cell, and where its files lie."""

    seed: int
    directory: Path

    @property
    def training(self) -> Path:
        """What `fgmf train` writes."""
        return self.directory / "training"

    @property
    def report(self) -> Path:
        """What `fgmf check` says."""
        return self.directory / "report.json"

    @property
    def record(self) -> Path:
        """What the run was made of and what it took; written last."""
        return self.directory / "run.json"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell: its name, and where its files lie."""

    backbone: str
    defence: str
    threat: str
    directory: Path
    seeds: tuple[int, ...]

    @property
    def runs(self) -> tuple[CellRun, ...]:
        """One for every seed."""
        return tuple(
            CellRun(seed=seed, directory=self.directory / f"seed-{seed}") for seed in self.seeds
        )

    @property
    def name(self) -> str:
        """As tox names it."""
        return f"{self.backbone}-{self.defence}-{self.threat}"


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """A matrix file, checked.

    Attributes:
        path: The file.
        output: Directory of all cells.
        seeds: Every cell is trained by each of them.
        reference: Defence that the others are compared with.
        backbones: Names.
        defences: Names, or a table of each with `name` and parameters.
        threats: Norm and epsilon by name, and the Linf budget that defences train at.
        tables: Everything else, as it was read.
    """

    path: Path
    output: Path
    seeds: tuple[int, ...]
    reference: str
    backbones: tuple[str, ...]
    defences: Mapping[str, Mapping[str, Any]]
    threats: Mapping[str, Mapping[str, Any]]
    tables: Mapping[str, Any]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All of them, in the order of the file."""
        return tuple(
            Cell(
                backbone=backbone,
                defence=defence,
                threat=threat,
                directory=self.output / f"{backbone}-{defence}-{threat}",
                seeds=self.seeds,
            )
            for backbone in self.backbones
            for defence in self.defences
            for threat in self.threats
        )

    def cell(self, name: str) -> Cell:
        """Return a cell by its name.

        Raises:
            InvalidGateFile: There is none of that name.
        """
        for cell in self.cells:
            if cell.name == name:
                return cell
        expected = "a cell of " + ", ".join(cell.name for cell in self.cells)
        raise InvalidGateFile(
            str(self.path), [Problem(location="(the cell)", expected=expected, got=repr(name))]
        )


def read_matrix(path: Path) -> Matrix:
    """Read a matrix file.

    Raises:
        InvalidGateFile: It is none; every problem of its own keys at once.
        OSError: It cannot be read.
    """
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        problem = Problem(location="(the whole file)", expected="TOML", got=str(error)[:120])
        raise InvalidGateFile(str(path), [problem]) from None
    problems = list(_problems(tables))
    if problems:
        raise InvalidGateFile(str(path), problems)
    defences = {
        str(entry["name"]) if isinstance(entry, dict) else entry: (
            entry if isinstance(entry, dict) else {"name": entry}
        )
        for entry in tables["defences"]
    }
    return Matrix(
        path=path,
        output=path.parent / tables.get("output", "runs/matrix"),
        seeds=tuple(tables.get("seeds", [tables["recipe"].get("seed", 0)])),
        reference=tables.get("reference", next(iter(defences))),
        backbones=tuple(tables["backbones"]),
        defences=defences,
        threats=tables["threats"],
        tables=tables,
    )


def _problems(tables: Mapping[str, Any]) -> list[Problem]:
    found = [
        Problem(location=key, expected=f"a key of {', '.join(sorted(_TABLES))}", got="another")
        for key in tables
        if key not in _TABLES
    ]

    def expect(key: str, what: str, *, holds: bool) -> None:
        if not holds:
            got = "nothing" if key.partition(".")[0] not in tables else "something else"
            found.append(Problem(location=key, expected=what, got=got))

    expect("schema", "1", holds=tables.get("schema") == 1)
    names = tables.get("backbones")
    texts = isinstance(names, list) and names and all(isinstance(n, str) for n in names)
    expect("backbones", "a list of backbones", holds=bool(texts))
    defences = tables.get("defences")
    named = isinstance(defences, list) and defences and all(_is_named(d) for d in defences)
    expect("defences", "a list of names, or of tables with a name", holds=bool(named))
    _expect_comparison(tables, expect)
    _expect_names(tables, expect)
    threats = tables.get("threats")
    sound = isinstance(threats, dict) and threats and all(map(_is_threat, threats.values()))
    what = "tables with norm and epsilon, and with a budget of defences (Linf) where it is not linf"
    expect("threats", what, holds=bool(sound))
    for key in ("recipe", "model", "data"):
        expect(key, "a table", holds=isinstance(tables.get(key), dict))
    gates = tables.get("gate")
    listed = isinstance(gates, list) and gates and all(isinstance(g, dict) for g in gates)
    expect("gate", "at least one [[gate]]", holds=bool(listed))
    return found


def _expect_comparison(tables: Mapping[str, Any], expect: Callable[..., None]) -> None:
    seeds = tables.get("seeds", [0])
    whole = isinstance(seeds, list) and all(type(s) is int and s >= 0 for s in seeds)
    distinct = whole and len(set(seeds)) == len(seeds) > 0
    expect("seeds", "a list of whole numbers from 0 on, each once", holds=bool(distinct))
    defences = tables.get("defences")
    listed = defences if isinstance(defences, list) else []
    names = [entry.get("name") if isinstance(entry, dict) else entry for entry in listed]
    holds = "reference" not in tables or tables["reference"] in names
    expect("reference", "one of the defences", holds=holds)


def _expect_names(tables: Mapping[str, Any], expect: Callable[..., None]) -> None:
    """Cells are called by these, and lie in directories of that name."""
    for key in ("backbones", "defences", "threats"):
        entries = tables.get(key)
        listed = list(entries) if isinstance(entries, list | dict) else []
        names = [str(entry.get("name") if isinstance(entry, dict) else entry) for entry in listed]
        expect(key, "each name once", holds=len(set(names)) == len(names))
        plain = all(set(name).isdisjoint("/\\") for name in names)
        expect(key, "names without / and \\", holds=plain)


def _is_named(entry: object) -> bool:
    return isinstance(entry, str) or (
        isinstance(entry, dict) and isinstance(entry.get("name"), str)
    )


def _is_threat(entry: object) -> bool:
    if not isinstance(entry, dict) or set(entry) - {"budget"} != {"norm", "epsilon"}:
        return False
    return entry["norm"] == "linf" or "budget" in entry


def write_run(matrix: Matrix, cell: Cell, run: CellRun) -> tuple[Path, Path]:
    """Write the recipe file and the gate file of one seed of a cell.

    Returns:
        Both, in the run's directory.

    Raises:
        InvalidInput: The epsilon of the threat is none.
        OSError: They cannot be written.
    """
    recipe = {**_recipe(matrix, cell), "seed": run.seed}
    gates = _gates(matrix, cell, run)
    paths = run.directory / "recipe.toml", run.directory / "fgmf.toml"
    for path, tables in zip(paths, (recipe, gates), strict=True):
        write_atomically(path, toml_of(tables).encode())
    return paths


def _recipe(matrix: Matrix, cell: Cell) -> dict[str, Any]:
    """The defence's budget is the threat's, unless the file sets one for it."""
    recipe: dict[str, Any] = json.loads(json.dumps(matrix.tables["recipe"]))
    threat = matrix.threats[cell.threat]
    defence = dict(matrix.defences[cell.defence])
    if defence.pop("budget", cell.defence != "standard"):
        defence.setdefault("epsilon", parse_epsilon(threat.get("budget", threat["epsilon"])))
    recipe.update(schema=1, output="training", defence=defence)
    for name in ("data", "validation"):
        if isinstance(recipe.get(name), dict):
            recipe[name] = located(matrix, recipe[name])
    recipe["model"] = {**recipe.get("model", {}), "backbone": cell.backbone}
    return recipe


def _gates(matrix: Matrix, cell: Cell, run: CellRun) -> dict[str, Any]:
    threat = {key: matrix.threats[cell.threat][key] for key in ("norm", "epsilon")}
    gates = [
        {**gate, **(threat if gate.get("kind") in _WITH_THREAT else {})}
        for gate in matrix.tables["gate"]
    ]
    model = {
        **matrix.tables["model"],
        "factory": "fgmf.pipeline:trained_model",
        "arguments": {"directory": str(run.training.absolute())},
    }
    data = located(matrix, matrix.tables["data"])
    return {"schema": 1, "model": model, "data": data, "gate": gates}


def located(matrix: Matrix, table: Mapping[str, Any]) -> dict[str, Any]:
    """A table whose path is meant from the matrix file, not from the cell."""
    if not isinstance(table.get("path"), str):
        return dict(table)
    return {**table, "path": str(matrix.path.absolute().parent / table["path"])}


def data_files(matrix: Matrix) -> list[Path]:
    """Files of all images that the file names by a path; none for those of factories."""
    recipe = matrix.tables["recipe"]
    tables = [recipe.get("data"), recipe.get("validation"), matrix.tables["data"]]
    paths = [
        matrix.path.absolute().parent / table["path"]
        for table in tables
        if isinstance(table, dict) and isinstance(table.get("path"), str)
    ]
    files = [file for path in dict.fromkeys(paths) for file in (path, *sorted(path.rglob("*")))]
    return [file for file in files if file.is_file()]


def toml_of(tables: Mapping[str, Any]) -> str:
    """Write plain values, lists and tables as TOML; tables inside lists and tables in one line."""
    lines = [f"{_key(k)} = {_value(v)}" for k, v in tables.items() if not _is_section(v)]
    for key, value in tables.items():
        if isinstance(value, dict):
            lines += ["", f"[{_key(key)}]", *(f"{_key(k)} = {_value(v)}" for k, v in value.items())]
        elif _is_section(value):
            for entry in value:
                lines += ["", f"[[{_key(key)}]]"]
                lines += [f"{_key(k)} = {_value(v)}" for k, v in entry.items()]
    return "\n".join(lines).lstrip("\n") + "\n"


def _is_section(value: object) -> bool:
    listed = isinstance(value, list) and value and all(isinstance(e, dict) for e in value)
    return isinstance(value, dict) or bool(listed)


def _key(key: str) -> str:
    return _text(key)


def _text(text: str) -> str:
    """A basic string: JSON's, but for DEL; escapes of surrogates are no TOML."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return _text(value) if isinstance(value, str) else json.dumps(value)
