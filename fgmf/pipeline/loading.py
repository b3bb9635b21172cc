"""From the tables of a recipe file to a checked :class:`TrainingPlan`.

head, data, model, schedule, ...     each against its table
[defence]                            name -> its table
what needs what                      compiled models, secant curvature, masks, ramps
any problem                          all of them in one InvalidRecipeFile
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from datetime import date, time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from fgmf.agents import RULES
from fgmf.errors import InvalidGateFile, InvalidRecipeFile, Problem
from fgmf.gatefile.reading import read_document
from fgmf.gatefile.tables import SourceTable, source_problems
from fgmf.gates.problems import one_of_the_keys, problems_of
from fgmf.pipeline.defence_tables import DefenceTable, TaughtTable
from fgmf.pipeline.defences import DEFENCES
from fgmf.pipeline.tables import (
    AugmentationTable,
    BackboneTable,
    CollapseTable,
    EngineTable,
    MaskLogTable,
    OptimizerTable,
    PruningTable,
    RampTable,
    RecipeHeadTable,
    ScheduleTable,
    SgamTable,
    TeacherTable,
    TeamTable,
    TrainingDataTable,
    ValidationTable,
    WritingTable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_Checked = TypeVar("_Checked", bound=BaseModel)
_HEAD: Final = ("schema", "seed", "output")
_NEEDED: Final[Mapping[str, type[BaseModel]]] = {"data": TrainingDataTable, "model": BackboneTable}
_DEFAULTED: Final[Mapping[str, type[BaseModel]]] = {
    "schedule": ScheduleTable,
    "optimizer": OptimizerTable,
    "engine": EngineTable,
    "writing": WritingTable,
}
_OPTIONAL: Final[Mapping[str, type[BaseModel]]] = {
    "teacher": TeacherTable,
    "team": TeamTable,
    "sgam": SgamTable,
    "collapse": CollapseTable,
    "validation": ValidationTable,
    "mask_log": MaskLogTable,
    "pruning": PruningTable,
    "augmentation": AugmentationTable,
}
TABLES: Final[Mapping[str, type[BaseModel]]] = {**_NEEDED, **_DEFAULTED, **_OPTIONAL}
KEYS: Final = (*_HEAD, "defence", "ramps", *TABLES)


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """A checked recipe file.

    Attributes:
        path: The file.
        digest: ``sha256:<hex>`` of its bytes.
        tables: Its tables as they were written.
        output: Directory that the training writes to.
        seed: Fixes first weights, order and every draw.
        data: Where images come from.
        model: Which network.
        defence: What is minimised.
        ramps: Numbers of the defence that move, by name.
        schedule: Length and speed.
        optimizer: Which one.
        engine: How it computes.
        writing: How often what is written.
        teacher: The model that a distillation learns from, or None.
        team: How agents decide and are trained, or None.
        sgam: The saliency mask, or None.
        collapse: The monitor, or None.
        validation: Robust accuracy after epochs, or None.
        mask_log: Evidence of every mask, or None.
        pruning: What goes while it is trained, or None.
        augmentation: How images are moved, or None.
    """

    path: Path
    digest: str
    tables: Mapping[str, Any]
    output: Path
    seed: int
    data: TrainingDataTable
    model: BackboneTable
    defence: DefenceTable
    ramps: Mapping[str, RampTable]
    schedule: ScheduleTable
    optimizer: OptimizerTable
    engine: EngineTable
    writing: WritingTable
    teacher: TeacherTable | None = None
    team: TeamTable | None = None
    sgam: SgamTable | None = None
    collapse: CollapseTable | None = None
    validation: ValidationTable | None = None
    mask_log: MaskLogTable | None = None
    pruning: PruningTable | None = None
    augmentation: AugmentationTable | None = None


@dataclass(kw_only=True)
class _Reader:
    tables: Mapping[str, Any]
    problems: list[Problem] = field(default_factory=list)

    def report(self, location: str, expected: str, got: str) -> None:
        self.problems.append(Problem(location=location, expected=expected, got=got))

    def checked(self, table: type[_Checked], value: object, *place: str) -> _Checked | None:
        if issubclass(table, SourceTable):
            for problem in source_problems(value):
                self.report(".".join((*place, problem.location)), problem.expected, problem.got)
        try:
            return table.model_validate(value)
        except ValidationError as error:
            self.problems += problems_of(error, prefix=place, model=table)
            return None


def load_recipe_file(path: Path) -> TrainingPlan:
    """Read a recipe file and check all of it.

    Args:
        path: A TOML file.

    Raises:
        InvalidRecipeFile: With every problem of the file.
    """
    try:
        document = read_document(path)
    except InvalidGateFile as error:
        raise InvalidRecipeFile(str(path), error.problems) from None
    plan = _checked(document.tables, path, document.digest)
    if os.path.realpath(plan.output) == os.path.realpath(path.parent):
        # A training may be thrown away; recipe files lie elsewhere.
        expected = "a directory of its own, where the recipe file does not lie"
        problem = Problem(location="output", expected=expected, got=repr(document.tables["output"]))
        raise InvalidRecipeFile(str(path), [problem])
    return plan


def plan_of(tables: Mapping[str, Any], path: Path) -> TrainingPlan:
    """Check tables that were read before, such as those of a manifest.

    Args:
        tables: Of a recipe file.
        path: Where it was; paths and factories are taken from its directory.

    Raises:
        InvalidRecipeFile: With every problem.
    """
    return _checked(tables, path, "")


def _checked(tables: Mapping[str, Any], path: Path, digest: str) -> TrainingPlan:
    reader = _Reader(tables=tables)
    found = _read(reader)
    if not reader.problems:
        _check_together(reader, found)
    if reader.problems:
        raise InvalidRecipeFile(str(path), list(dict.fromkeys(reader.problems)))
    head = found.pop("head")
    return TrainingPlan(
        path=path,
        digest=digest,
        tables=tables,
        output=path.parent / head.output,
        seed=head.seed,
        **found,
    )


def _read(reader: _Reader) -> dict[str, Any]:
    tables = reader.tables
    for key in tables:
        if key not in KEYS:
            reader.report(key, one_of_the_keys(KEYS, key), "an unknown key")
    found: dict[str, Any] = {
        "head": reader.checked(RecipeHeadTable, {k: v for k, v in tables.items() if k in _HEAD})
    }
    for name, table in TABLES.items():
        if name in tables or name in _DEFAULTED:
            found[name] = reader.checked(table, tables.get(name, {}), name)
        elif name in _NEEDED:
            reader.report(name, f"a table [{name}]", "nothing")
    found["defence"] = _defence(reader)
    found["ramps"] = _ramps(reader)
    _check_model(reader)
    _check_plain(reader, tables, ())
    return found


def _check_plain(reader: _Reader, value: object, place: tuple[str, ...]) -> None:
    """Refuse what a manifest, which is JSON, cannot hold."""
    listed = dict(enumerate(value)) if isinstance(value, list | tuple) else {}
    for key, each in (value if isinstance(value, dict) else listed).items():
        _check_plain(reader, each, (*place, str(key)))
    if isinstance(value, date | time):
        reader.report(".".join(place), "a date or time as text, in quotes", str(value))
    if isinstance(value, float) and not math.isfinite(value):
        reader.report(".".join(place), "a finite number", str(value))


def _defence(reader: _Reader) -> DefenceTable | None:
    value = reader.tables.get("defence")
    if not isinstance(value, dict):
        got = "nothing" if value is None else repr(value)[:80]
        reader.report("defence", "a table [defence] with a `name`", got)
        return None
    name = value.get("name")
    if not isinstance(name, str) or name not in DEFENCES:
        got = repr(name)[:80] if "name" in value else "nothing"
        reader.report("defence.name", f"one of {', '.join(DEFENCES)}", got)
        return None
    return reader.checked(DEFENCES[name], value, "defence")


def _ramps(reader: _Reader) -> dict[str, RampTable]:
    value = reader.tables.get("ramps", {})
    if not isinstance(value, dict):
        reader.report("ramps", "tables [ramps.NAME]", repr(value)[:80])
        return {}
    checked = {name: reader.checked(RampTable, each, "ramps", name) for name, each in value.items()}
    return {name: ramp for name, ramp in checked.items() if ramp is not None}


def _check_model(reader: _Reader) -> None:
    model = reader.tables.get("model")
    if not isinstance(model, dict):
        return
    _check_network(reader, model, "model", ("backbone", "factory", "agents"))
    agents = model.get("agents", ())
    tables = [each for each in agents if isinstance(each, dict)] if agents else []
    for number, table in enumerate(tables):
        _check_network(reader, table, f"model.agents[{number}]", ("backbone", "factory"))
    names = [str(table.get("name")) for table in tables]
    if len(set(names)) < len(names):
        reader.report("model.agents", "a `name` of its own for every agent", ", ".join(names))
    if bool(agents) != ("team" in reader.tables):
        expected = "a table [team] with agents" if agents else "no table [team] without agents"
        reader.report("team", expected, "none" if agents else "one")


def _check_network(
    reader: _Reader, table: Mapping[str, Any], place: str, keys: tuple[str, ...]
) -> None:
    given = [key for key in keys if table.get(key)]
    if len(given) != 1:
        got = " and ".join(given) or "nothing"
        others = " or ".join(f"`{key}`" for key in keys[1:])
        reader.report(f"{place}.{keys[0]}", f"a `{keys[0]}`, or {others} instead of one", got)


def _check_together(reader: _Reader, found: Mapping[str, Any]) -> None:
    """What one table needs of another."""
    defence, engine, optimizer = found["defence"], found["engine"], found["optimizer"]
    numbers = {  # whole ones count something, and have nothing in between
        name for name, value in defence.model_dump().items() if isinstance(value, float)
    }
    for name in sorted(set(found["ramps"]) - (numbers - {"warm_up", "epsilon"})):
        allowed = ", ".join(sorted(numbers - {"warm_up", "epsilon"})) or "(none)"
        expected = f"a number of {defence.name} that is no count: {allowed}"
        reader.report(f"ramps.{name}", expected, repr(name))
    if engine.mixed_precision == "float16" and not engine.device.startswith("cuda"):
        reader.report("engine.mixed_precision", "bfloat16 on this device", "'float16'")
    exact = optimizer.name == "curvature-aware" and optimizer.curvature_mode == "exact"
    if optimizer.base is not None and optimizer.name != "curvature-aware":
        reader.report("optimizer.base", "no base but for curvature-aware", repr(optimizer.base))
    if engine.compiled and exact:
        expected = '"secant" on compiled models, which have no second derivatives'
        reader.report("optimizer.curvature_mode", expected, "'exact'")
    if isinstance(defence, TaughtTable) != ("teacher" in found):
        needed = isinstance(defence, TaughtTable)
        expected = "a table [teacher]" if needed else "no table [teacher], which it does not use"
        reader.report("teacher", f"{expected} for {defence.name}", "none" if needed else "one")
    _check_mask_log(reader, found)
    _check_spiking(reader, found)
    _check_team(reader, found)
    _check_pruning(reader, found.get("pruning"))
    _check_budget(reader, found)


def _check_budget(reader: _Reader, found: Mapping[str, Any]) -> None:
    defence, validation = found["defence"], found.get("validation")
    low, high = found["data"].bounds
    if defence.budget is not None and defence.budget > high - low:
        expected = f"a budget of at most {high - low:g}, the width of data.bounds"
        reader.report("defence.epsilon", expected, f"{defence.budget:g}")
    if defence.budget is None and validation is not None and validation.epsilon is None:
        reader.report("validation.epsilon", "a budget, as the defence has none", "nothing")
    if defence.budget is None and "collapse" in found:
        reader.report("collapse", "a defence with a budget, which it looks for", defence.name)


def _check_spiking(reader: _Reader, found: Mapping[str, Any]) -> None:
    """Pixels of a spiking network are rates."""
    model, bounds = found["model"], found["data"].bounds
    if "spiking" not in (model.backbone, *(agent.backbone for agent in model.agents)):
        return
    if bounds != (0.0, 1.0):
        expected = "[0, 1] for a spiking network, whose pixels are rates"
        reader.report("data.bounds", expected, str(list(bounds)))
    if model.normalize is not None:
        reader.report("model.normalize", "none for a spiking network: pixels are rates", "one")


def _check_pruning(reader: _Reader, table: PruningTable | None) -> None:
    if table is None:
        return
    by_shape = table.structure == "n-of-m"
    if by_shape != (table.share is None):
        expected = "no share, which n and m say" if by_shape else "a share above 0 and below 1"
        got = "nothing" if table.share is None else f"{table.share}"
        reader.report("pruning.share", f"{expected}, for {table.structure}", got)
    if by_shape and table.n >= table.m:
        reader.report("pruning.n", f"fewer than m = {table.m}", str(table.n))
    if not by_shape and table.end < table.begin:
        reader.report("pruning.end", f"no less than begin = {table.begin}", str(table.end))


def _check_team(reader: _Reader, found: Mapping[str, Any]) -> None:
    team = found.get("team")
    if team is None:
        return
    if team.training == "joint" and not RULES[team.rule].differentiable:
        differentiable = ", ".join(name for name, rule in RULES.items() if rule.differentiable)
        reader.report("team.rule", f"one with a gradient for joint: {differentiable}", team.rule)
    if "mask_log" in found and team.training == "diverse" and team.share != 1.0:
        expected = "share = 1 with [mask_log], so that every pass is of a whole batch"
        reader.report("team.share", expected, str(team.share))
    if team.messages is not None and team.training != "joint":
        expected = 'training = "joint", which alone trains messages'
        reader.report("team.training", expected, team.training)
    if "pruning" in found:
        reader.report("pruning", "no table [pruning] with a team: prune its agents alone", "one")


def _check_mask_log(reader: _Reader, found: Mapping[str, Any]) -> None:
    defence, engine = found["defence"], found["engine"]
    if "mask_log" not in found:
        return
    if "sgam" not in found:
        reader.report("mask_log", "a table [sgam], whose masks are logged", "none")
    if "augmentation" in found:
        reader.report("mask_log", "no table [augmentation]: a log names images as they are", "one")
    if engine.compiled:
        reader.report("mask_log", "a model that is not compiled", "a compiled one")
    if getattr(defence, "share", 1.0) != 1.0 and defence.name == "scor-pio-2":
        expected = "share = 1 in scor-pio-2, so that every pass is of a whole batch"
        reader.report("mask_log", expected, f"share = {defence.share}")
