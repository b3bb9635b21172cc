"""What every gate specification has in common: validation, identity, context of a run.

A specification is a frozen pydantic model, so that the same value is written in a gate file or
in Python and has one JSON Schema. No torch here: gate files are checked before anything heavy
is imported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fgmf.errors import InvalidGateFile, InvalidInput
from fgmf.gates.problems import problems_of
from fgmf.preflight.policy import check_waived
from fgmf.seeding import DEFAULT_RUN_SEED

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.classifier import Classifier
    from fgmf.processes import Processes
    from fgmf.types import Images, Labels
    from fgmf.verdict import Verdict

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Confidence = Annotated[float, Field(ge=0.5, lt=1.0)]
ShownPictures = Annotated[int, Field(ge=0, le=8)]
GateName = Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._=@/-]*)?$", max_length=120)]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a running gate stands; `done` and `total` count images times attack runs."""

    gate: str
    stage: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """What a gate needs to know about the run that it is part of.

    Attributes:
        run_seed: Seed of the run, from which the gate derives its own.
        on_progress: Called between batches; must be quick.
        root: Directory that artifact paths are given relative to.
        failures_directory: Where evidence of failures is written; None writes nothing.
        reproduce: Command that runs this gate alone, for the report.
        processes: Processes that share the work of each gate; None works alone.
        gate_file: The gate file, relative to the directory that `failures_directory` lies in as
            ``.fgmf/failures``; empty for a gate of a test. Saved evidence names it.
        cache_directory: Where outcomes per image are kept between runs; None keeps none.
        notify: Told what the user should know about the cache; it is no part of the verdict.
        directory: Directory of the gate file, which paths of gates are relative to.
        surrogates: Returns another model by its name, for attacks that take one as a surrogate;
            raises `InvalidInput` where there is none. None: there are no others.
    """

    run_seed: int = DEFAULT_RUN_SEED
    on_progress: Callable[[Progress], None] | None = None
    root: Path = field(default_factory=Path.cwd)
    failures_directory: Path | None = None
    reproduce: str = ""
    processes: Processes | None = None
    gate_file: str = ""
    cache_directory: Path | None = None
    notify: Callable[[str], None] = field(default=lambda _message: None)
    directory: Path = field(default_factory=Path.cwd)
    surrogates: Callable[[str], Classifier] | None = None


class GateSpecification(BaseModel):
    """Fields that every gate kind has. Concrete kinds add `kind`, thresholds and `check`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    stands_alone: ClassVar[bool] = False
    """Kinds that are about no model and no data: `check` takes the context and nothing else, and a
    gate file that has only such gates needs neither."""
    needs_images: ClassVar[bool] = True
    """Kinds that are about a model and no labelled images say False: `check` takes the classifier
    and the context."""

    name: GateName = ""
    """Name of the gate, unique in a run; empty takes the kind."""
    required: bool = False
    """The run fails if this gate is missing, deselected, skipped or expected to fail."""
    profiles: tuple[str, ...] = ()
    """Profiles that the gate runs in; none means all."""
    model: str | None = None
    """Which `[[model]]` entry the gate is about; needed only where there are several."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    """Replaces the seed that is derived from the run seed and the gate's name."""
    waive: tuple[str, ...] = ()
    """Preflight findings that are accepted, by name. They stay visible."""
    inconclusive: Literal["fail", "pass"] = "fail"
    """Whether an INCONCLUSIVE outcome fails the test or is let through, visibly."""
    save_failures: bool = True
    """Whether broken images are written to disk; switch off for confidential images."""

    @field_validator("waive")
    @classmethod
    def _findings(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return check_waived(value)
        except InvalidInput as error:
            # What came is said for every field; here it would stand twice.
            allowed = re.sub(r", got '[^']*'", "", _without_expected(str(error)), count=1)
            raise ValueError(allowed) from None

    @model_validator(mode="before")
    @classmethod
    def _lists_as_tuples(cls, values: Any) -> Any:  # noqa: ANN401 - unvalidated input
        """TOML and JSON have arrays where the fields have tuples."""
        if not isinstance(values, dict):
            return values
        return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}

    if not TYPE_CHECKING:

        def __init__(self, **values: Any) -> None:
            """Validate; every problem at once.

            Raises:
                InvalidGateFile: With one entry per invalid field.
            """
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise InvalidGateFile(
                    type(self).__name__, problems_of(error, model=type(self))
                ) from None


def _without_expected(message: str) -> str:
    """Words for the problem of a field, which says "expected" itself."""
    return message.removeprefix("expected ")


class Gate(Protocol):
    """A gate kind: a specification with a `check`. Others can be added by entry point."""

    @property
    def name(self) -> str:
        """Name of the gate, unique in a run; empty takes the kind."""
        ...

    def check(
        self, classifier: Classifier, images: Images, labels: Labels, *, context: RunContext = ...
    ) -> Verdict:
        """Measure and judge."""
        ...


class StandaloneGate(Protocol):
    """A gate kind that is about no model and no data; its class says `stands_alone = True`."""

    @property
    def name(self) -> str:
        """Name of the gate, unique in a run; empty takes the kind."""
        ...

    def check(self, *, context: RunContext = ...) -> Verdict:
        """Measure and judge."""
        ...


class ImagelessGate(Protocol):
    """A gate kind about a model and no labelled images; its class says `needs_images = False`."""

    @property
    def name(self) -> str:
        """Name of the gate, unique in a run; empty takes the kind."""
        ...

    def check(self, classifier: Classifier, *, context: RunContext = ...) -> Verdict:
        """Measure and judge."""
        ...


def needs_images(gate: object) -> bool:
    """Say whether a gate is about labelled images."""
    return not stands_alone(gate) and getattr(gate, "needs_images", True) is not False


def stands_alone(gate: object) -> bool:
    """Say whether a gate is about no model and no data."""
    return getattr(gate, "stands_alone", False) is True
