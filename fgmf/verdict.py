"""What a gate says: measured values, the judgement on them, and what they rest on.

Values only. Measuring lives in the measurement packages, judging in `gates`, wording in
`reporting`. A verdict is plain data: it goes to JSON and back without loss, because it must
cross process borders under pytest-xdist.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgmf.types import Direction, Json, Severity


class Outcome(StrEnum):
    """The four ends of a gate. Only PASS is a pass."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A confidence interval, and how it was made."""

    lower: float
    upper: float
    confidence: float
    method: str


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Work done: passes are counted per image, so they compare across batch sizes.

    Attributes:
        forward_passes: Of one image each.
        backward_passes: Likewise.
        seconds: On the clock.
        cached_images: Images whose outcome was taken from the cache instead of attacking them.
    """

    forward_passes: int = 0
    backward_passes: int = 0
    seconds: float = 0.0
    cached_images: int = 0

    def __sub__(self, other: Cost) -> Cost:
        """Difference of two costs, such as what other processes did of a joint one."""
        return Cost(
            forward_passes=self.forward_passes - other.forward_passes,
            backward_passes=self.backward_passes - other.backward_passes,
            seconds=self.seconds - other.seconds,
            cached_images=self.cached_images - other.cached_images,
        )

    def __add__(self, other: Cost) -> Cost:
        """Sum of two costs."""
        return Cost(
            forward_passes=self.forward_passes + other.forward_passes,
            backward_passes=self.backward_passes + other.backward_passes,
            seconds=self.seconds + other.seconds,
            cached_images=self.cached_images + other.cached_images,
        )


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A named observation about how a model and its data are used.

    Attributes:
        name: Stable kebab-case name, by which it can be waived.
        severity: ``error`` forbids a PASS, ``warning`` and ``note`` do not.
        message: What was expected and what came.
        fix: What to do.
        evidence: Measured values.
        waived: The user accepted it by name; it stays visible, and the gate is measured. A few
            errors forbid a PASS even so (`fgmf.preflight.policy`).
    """

    name: str
    severity: Severity
    message: str
    fix: str
    evidence: Mapping[str, Json] = field(default_factory=dict)
    waived: bool = False


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One threshold of a gate, and how the measurement stands to it.

    Attributes:
        quantity: Name of the measured value, such as ``robust_accuracy``.
        measured: Its point estimate; None where nothing could be measured.
        interval: Its confidence interval; None where nothing could be measured.
        threshold: Lowest accepted value, or the highest where `direction` says so.
        outcome: PASS, FAIL or INCONCLUSIVE.
        subject: What it is about where there are several, such as ``class 3``.
        direction: ``at-least`` where high values are good, ``at-most`` where low ones are.
    """

    quantity: str
    measured: float | None
    interval: Interval | None
    threshold: float
    outcome: Outcome
    subject: str = ""
    direction: Direction = "at-least"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The result of one gate.

    Attributes:
        gate: Name of the gate, unique in a run.
        kind: Kind of gate, such as ``robustness``.
        outcome: PASS, FAIL, INCONCLUSIVE or ERROR.
        reason: One sentence on why the outcome is what it is.
        measured: Point estimate of the gate's main quantity; None if nothing was measured.
        interval: Its confidence interval; None if nothing was measured.
        threshold: The threshold on the main quantity.
        image_count: Images that the measurement is about.
        seed: The gate's seed; None if it draws nothing.
        cost: Passes and seconds.
        conditions: Every threshold of the gate, the main one first.
        findings: What the preflight found.
        evidence: Measured values for people and programs; depends on the seed alone.
        artifacts: Files written, relative to the root directory where they lie under it.
        reproduce: A command that runs this gate alone.
        accepted: An INCONCLUSIVE outcome that the user declared acceptable.
        direction: Whether the threshold is the lowest or the highest accepted value.
    """

    gate: str
    kind: str
    outcome: Outcome
    reason: str
    measured: float | None = None
    interval: Interval | None = None
    threshold: float | None = None
    image_count: int = 0
    seed: int | None = None
    cost: Cost = field(default_factory=Cost)
    conditions: tuple[Condition, ...] = ()
    findings: tuple[Finding, ...] = ()
    evidence: Mapping[str, Json] = field(default_factory=dict)
    artifacts: tuple[str, ...] = ()
    reproduce: str = ""
    accepted: bool = False
    direction: Direction = "at-least"

    @property
    def passed(self) -> bool:
        """True for PASS, and for an INCONCLUSIVE that the user declared acceptable."""
        accepted = self.outcome is Outcome.INCONCLUSIVE and self.accepted
        return self.outcome is Outcome.PASS or accepted

    def as_document(self) -> dict[str, Json]:
        """Return the verdict as plain JSON types."""
        document: dict[str, Any] = asdict(self)
        document["outcome"] = str(self.outcome)
        for condition in document["conditions"]:
            condition["outcome"] = str(condition["outcome"])
        for name in ("conditions", "findings", "artifacts"):
            document[name] = list(document[name])
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Verdict:
        """Rebuild a verdict from :meth:`as_document`.

        Raises:
            KeyError: A field is missing.
            TypeError: A field is unknown.
            ValueError: An outcome is unknown.
        """
        # A default in place of a lost value would be evidence that nobody measured.
        lost = {entry.name for entry in fields(cls)} - set(document)
        if lost:
            raise KeyError(f"expected every field of a verdict, got none of {sorted(lost)}")
        values = dict(document)
        values["outcome"] = Outcome(values["outcome"])
        values["interval"] = _interval(values["interval"])
        values["cost"] = Cost(**values["cost"])
        values["findings"] = tuple(Finding(**finding) for finding in values["findings"])
        values["conditions"] = tuple(_condition(entry) for entry in values["conditions"])
        values["artifacts"] = tuple(values["artifacts"])
        return cls(**values)


def _interval(document: Mapping[str, Any] | None) -> Interval | None:
    return None if document is None else Interval(**document)


def _condition(document: Mapping[str, Any]) -> Condition:
    values = dict(document)
    values["outcome"] = Outcome(values["outcome"])
    values["interval"] = _interval(values["interval"])
    return Condition(**values)
