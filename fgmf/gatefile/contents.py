"""What a gate file says, once it has been checked: plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fgmf.gates.specification import GateSpecification
    from fgmf.types import Bounds


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """One model: where it comes from, and how images reach it.

    Attributes:
        name: By which gates name it; empty where there is only one model without a name.
        factory: ``package.module:function`` that returns the model; empty if `path` is given.
        path: An ONNX file; None if `factory` is given.
        arguments: Keyword arguments of the factory.
        bounds: Lowest and highest valid pixel value.
        normalize: ``mean`` and ``std``, or None.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        dtype: ``auto`` or the name of a floating-point type.
        batch_size: Largest number of images in one pass.
        output: Name or position of the logits in the model's output.
    """

    name: str
    bounds: Bounds
    factory: str = ""
    path: Path | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    normalize: Mapping[str, Any] | None = None
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int = 128
    output: str | int | None = None


@dataclass(frozen=True, kw_only=True)
class DataEntry:
    """Where the labelled images come from: a factory with its arguments, or a path."""

    factory: str = ""
    path: Path | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class GateFile:
    """A checked gate file, seen through one profile.

    Attributes:
        path: The file.
        digest: ``sha256:<hex>`` of its bytes.
        seed: Seed of the run.
        models: At least one, unless every gate stands alone.
        data: The labelled images; None only where every gate stands alone.
        profile: Name of the profile that is active.
        gates: The gates that the profile runs, in the order of the file; every one is named
            and has the profile's overrides applied.
        left_out: Names of the gates that the profile does not run.
        lines: For each gate, the line (from 1) of its ``[[gate]]``, where that is known.
    """

    path: Path
    digest: str
    seed: int
    models: tuple[ModelEntry, ...]
    data: DataEntry | None
    profile: str
    gates: tuple[GateSpecification, ...]
    left_out: tuple[str, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict)

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the gates that must run."""
        return tuple(gate.name for gate in self.gates if gate.required)
