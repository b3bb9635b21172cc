"""What a baseline holds: one measured gate, image by image. The same value comes from a verdict.

A measured gate is made from a verdict of this run, from one in a JSON report, or from a
baseline file. The last two may come from anywhere, so every field is checked.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fgmf.canonical import json_digest
from fgmf.errors import InvalidInput
from fgmf.gates.identity import FAILED, KEY_DIGITS, OUTCOMES, ROBUST, UNDECIDED
from fgmf.gates.problems import Misfit, misfits, problems_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.types import Json
    from fgmf.verdict import Verdict

ImageId = tuple[str, int | None, int]
"""Key of an image, its label, and which it is among images that are equal in both."""

_Share = Annotated[float, Field(ge=0.0, le=1.0)]
_ROUNDING = 1e-9


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ImageOutcomes(_Part):
    """How each image ended.

    Attributes:
        indices: n positions in the data set.
        keys: n short content digests.
        labels: n true classes; None where the evidence has none.
        outcomes: n letters of `fgmf.gates.identity.OUTCOMES`.
    """

    indices: list[Annotated[int, Field(ge=0)]]
    keys: list[Annotated[str, Field(pattern=rf"^[0-9a-f]{{{KEY_DIGITS}}}$")]]
    labels: list[int] | None = None
    outcomes: Annotated[str, Field(pattern=f"^[{OUTCOMES}]+$")]

    @model_validator(mode="after")
    def _one_of_each(self) -> ImageOutcomes:
        count, problems = len(self.outcomes), []
        for key in ("indices", "keys", "labels"):
            values = getattr(self, key)
            if values is not None and len(values) != count:
                problems.append(Misfit(key, f"{count} entries, one per outcome", len(values)))
        if len(set(self.indices)) < len(self.indices):
            problems.append(Misfit("indices", "no position twice", "a repeated one"))
        if problems:
            raise misfits("images", problems)
        return self

    @property
    def ids(self) -> list[ImageId]:
        """One identity per image, none twice, whatever the order of the data set."""
        seen: Counter[tuple[str, int | None]] = Counter()
        found: list[ImageId] = []
        labels: Sequence[int | None] = self.labels or [None] * len(self.keys)
        for key, label in zip(self.keys, labels, strict=True):
            found.append((key, label, seen[key, label]))
            seen[key, label] += 1
        return found

    @property
    def unsure(self) -> int:
        """Images that are undecided or failed."""
        return sum(self.outcomes.count(letter) for letter in (UNDECIDED, FAILED))


class MeasuredInterval(_Part):
    """The interval of the verdict."""

    lower: _Share
    upper: _Share
    confidence: _Share
    method: str

    @model_validator(mode="after")
    def _in_order(self) -> MeasuredInterval:
        if self.lower > self.upper:
            raise misfits("interval", [Misfit("upper", "at least the lower end", self.upper)])
        return self


class MeasuredGate(_Part):
    """One gate as it was measured.

    Attributes:
        gate: Its name.
        outcome: How its verdict ended.
        configuration: Everything that changes how images end.
        images: How they ended.
        measured: Its main quantity; None where images are undecided.
        interval: Of that quantity.
        seed: The gate's seed as decimal digits: seeds have more bits than a JSON number.
        versions: Of libraries; for people.
        model_digest: Of the model that was measured; for people.
    """

    gate: Annotated[str, Field(min_length=1, max_length=1000)]
    outcome: Annotated[str, Field(pattern="^(pass|fail|inconclusive)$")]
    configuration: Annotated[dict[str, Any], Field(min_length=1)]
    images: ImageOutcomes
    measured: _Share | None
    interval: MeasuredInterval | None
    seed: Annotated[str, Field(pattern="^[0-9]{1,20}$")] | None
    versions: dict[str, str]
    model_digest: str

    @model_validator(mode="after")
    def _measured_is_what_images_say(self) -> MeasuredGate:
        share = self.images.outcomes.count(ROBUST) / len(self.images.outcomes)
        fits = self.measured is not None and abs(self.measured - share) <= _ROUNDING
        if not fits and not self.images.unsure:
            allowed = f"{share:g}, the share of robust images"
            raise misfits("gate", [Misfit("measured", allowed, self.measured)])
        return self

    @property
    def data_digest(self) -> str:
        """Digest of which images with which labels, whatever their order."""
        rows: list[Json] = [list(entry) for entry in sorted(self.images.ids, key=str)]
        return json_digest(rows)

    @property
    def configuration_digest(self) -> str:
        """Digest of the configuration."""
        return json_digest(self.configuration)


def has_outcomes(verdict: Verdict) -> bool:
    """Say whether a verdict tells how each image ended."""
    return "images" in verdict.evidence


def measured_gate(verdict: Verdict) -> MeasuredGate:
    """Take from a verdict what a baseline holds.

    Args:
        verdict: Of a gate that was measured; its evidence is not trusted.

    Raises:
        InvalidInput: It was not measured, or its evidence lacks or misstates something.
    """
    evidence, interval = verdict.evidence, verdict.interval
    versions = evidence.get("library_versions", {})
    values = {
        "gate": verdict.gate,
        "outcome": str(verdict.outcome),
        "configuration": evidence.get("configuration"),
        "images": evidence.get("images"),
        "measured": verdict.measured,
        "interval": interval and {k: getattr(interval, k) for k in MeasuredInterval.model_fields},
        "seed": None if verdict.seed is None else str(verdict.seed),
        "versions": versions,
        "model_digest": evidence.get("model_digest", ""),
    }
    try:
        return MeasuredGate.model_validate(values)
    except ValidationError as error:
        lines = "; ".join(map(str, problems_of(error, model=MeasuredGate)))
        raise InvalidInput(f"the verdict cannot be compared: {lines}") from None
