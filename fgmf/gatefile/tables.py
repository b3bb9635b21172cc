"""The tables of a gate file that are not gates, as pydantic models."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from fgmf.corruptions.catalogue import CorruptionName, Severity
from fgmf.errors import Problem
from fgmf.gatefile.contents import DataEntry, ModelEntry
from fgmf.gates.problems import Misfit, misfits
from fgmf.gates.robustness import AttackSpecification, Count, SuiteName
from fgmf.gates.specification import Confidence

_FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_DEVICE = r"^(auto|cpu|mps|cuda(:\d+)?)$"

Numbers = float | tuple[float, ...]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
EntryName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]


class Table(BaseModel):
    """A closed table: unknown keys are problems, arrays are tuples."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _lists_as_tuples(cls, values: Any) -> Any:  # noqa: ANN401 - unvalidated input
        if not isinstance(values, dict):
            return values
        return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


class HeadTable(Table):
    """The keys at the top of a gate file."""

    schema_version: Annotated[int, Field(json_schema_extra={"const": 1})] = Field(alias="schema")
    """Version of the format; 1 is the only one."""
    seed: Seed = 0
    """Seed of the run, from which every gate derives its own."""

    @field_validator("schema_version")
    @classmethod
    def _known_version(cls, value: int) -> int:
        if value != 1:
            raise ValueError("1, the version of the format that this release reads")
        return value


class SourceTable(Table):
    """A factory with arguments, or a path: exactly one, which `source_problems` checks."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["factory"]}, {"required": ["path"]}]}
    )

    factory: str | None = None
    """``package.module:function``, imported with the gate file's directory on the path."""
    path: str | None = None
    """A file or folder, relative to the gate file."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the factory."""

    @field_validator("factory")
    @classmethod
    def _factory(cls, value: str | None) -> str | None:
        if value is not None and not _FACTORY.fullmatch(value):
            raise ValueError('text like "package.module:function"')
        return value

    def path_from(self, directory: Path) -> Path | None:
        """Return the path, taken from the gate file's directory."""
        return None if self.path is None else directory / self.path


def source_problems(entry: object) -> list[Problem]:
    """Check that a table names exactly one source.

    Apart from the model's own validation, so that it is said together with what is wrong with
    single keys.

    Args:
        entry: The table as it is in the file; anything but a table is left to the model.
    """
    if not isinstance(entry, dict):
        return []
    problems = []
    if "factory" not in entry and "path" not in entry:
        expected = '"package.module:function", or a `path`'
        problems.append(Problem(location="factory", expected=expected, got="nothing"))
    if "factory" in entry and "path" in entry:
        expected, got = "either `factory` or `path`", "both"
        problems.append(Problem(location="path", expected=expected, got=got))
    if "arguments" in entry and "factory" not in entry:
        expected, got = "a `factory` that takes them", "no factory"
        problems.append(Problem(location="arguments", expected=expected, got=got))
    return problems


class NormalizeTable(Table):
    """Mean and deviation that the model expects to have been applied, in units of the bounds."""

    mean: Numbers
    std: Numbers

    @field_validator("std")
    @classmethod
    def _positive(cls, value: Numbers) -> Numbers:
        if not all(number > 0 for number in _tuple(value)):
            raise ValueError("numbers > 0")
        return value

    @model_validator(mode="after")
    def _same_channels(self) -> NormalizeTable:
        lengths = {len(_tuple(self.mean)), len(_tuple(self.std))}
        if 0 in lengths or len(lengths - {1}) > 1:
            allowed = "one number, or one per channel in both `mean` and `std`"
            raise misfits("normalize", [Misfit("mean", allowed, self.mean)])
        return self


class ModelTable(SourceTable):
    """``[model]`` or one ``[[model]]``."""

    name: EntryName | None = None
    """By which gates name the model; needed where there are several."""
    bounds: tuple[float, float]
    """Lowest and highest valid pixel value; epsilon is in these units."""
    normalize: NormalizeTable | None = None
    device: Annotated[str, Field(pattern=_DEVICE)] = "auto"
    dtype: Literal["auto", "float16", "bfloat16", "float32", "float64"] = "auto"
    batch_size: Count = 128
    """Largest number of images in one pass; halved when memory runs out."""
    output: str | int | None = None
    """Name or position of the logits in the model's output."""

    @field_validator("bounds")
    @classmethod
    def _bounds(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not (all(map(math.isfinite, value)) and value[0] < value[1]):
            raise ValueError("two numbers, the lower one first")
        return value

    @field_validator("path")
    @classmethod
    def _exported(cls, value: str | None) -> str | None:
        if value is not None and Path(value).suffix not in {".onnx", ".tflite"}:
            allowed = "the path of an .onnx or .tflite file (a PyTorch model needs a `factory`)"
            raise ValueError(allowed)
        return value

    def entry(self, directory: Path) -> ModelEntry:
        """Return the plain value; paths are taken from `directory`."""
        normalize = self.normalize
        return ModelEntry(
            name=self.name or "",
            factory=self.factory or "",
            path=self.path_from(directory),
            arguments=self.arguments,
            bounds=self.bounds,
            normalize=None if normalize is None else normalize.model_dump(),
            device=self.device,
            dtype=self.dtype,
            batch_size=self.batch_size,
            output=self.output,
        )


class DataTable(SourceTable):
    """``[data]``: a factory of labelled images, an ``.npz`` file, or a folder of images."""

    def entry(self, directory: Path) -> DataEntry:
        """Return the plain value; paths are taken from `directory`."""
        return DataEntry(
            factory=self.factory or "",
            path=self.path_from(directory),
            arguments=self.arguments,
        )


class ProfileTable(Table):
    """``[profiles.NAME]``: values that replace those of the gates while the profile is active."""

    images: Count | Literal["all"] | None = None
    sequential: bool | None = None
    restarts: Count | None = None
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    confidence: Confidence | None = None
    inconclusive: Literal["fail", "pass"] | None = None
    attacks: tuple[AttackSpecification, ...] | None = None
    corruptions: Annotated[tuple[CorruptionName, ...], Field(min_length=1)] | None = None
    severities: Annotated[tuple[Severity, ...], Field(min_length=1)] | None = None
    suite: SuiteName | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> ProfileTable:
        if self.attacks and self.suite is not None:
            raise misfits("profile", [Misfit("suite", "either a suite or attacks", "both")])
        return self


def _tuple(value: Numbers) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)
