"""Comparing a replay with the recording: what broke again, and what that says.

Three things must not be confused: an image that breaks (FAIL), a recording that its own model
does not reproduce (an error finding, and never a PASS), and an image on which the attack could
not be carried out (no PASS either).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fgmf.failures import layout
from fgmf.verdict import Finding, Outcome

if TYPE_CHECKING:
    from fgmf.failures.loading import SavedFailures
    from fgmf.failures.repeating import Repetition
    from fgmf.types import ImageFlags, Json


@dataclass(frozen=True, kw_only=True, eq=False)
class Replay:
    """Both halves of a replay, for n saved images.

    Attributes:
        saved: The evidence.
        still_broken: (n,) the saved example still breaks the model.
        repetition: What the repeated attack did; None where the evidence holds no attack.
        seed: Seed that the attack was repeated with.
        model_digest: Of the model as it is now.
        same_model: Whether it is the recorded one; None if its digest proves nothing.
        changed: What else is not as it was recorded.
    """

    saved: SavedFailures
    still_broken: ImageFlags
    repetition: Repetition | None
    seed: int
    model_digest: str
    same_model: bool | None
    changed: list[str]

    @property
    def broken(self) -> ImageFlags:
        """(n,) broken in either half."""
        if self.repetition is None:
            return self.still_broken
        return self.still_broken | self.repetition.measurement.broken

    @property
    def outcome(self) -> Outcome:
        """FAIL if anything breaks; PASS if nothing does and that can be believed."""
        if bool(self.broken.any()):
            return Outcome.FAIL
        believed = self.same_model is not True and not self._failed
        return Outcome.PASS if believed else Outcome.ERROR

    @property
    def reason(self) -> str:
        """One sentence on both halves, after what forbids to believe them."""
        count = len(self.still_broken)
        words = f"{int(self.still_broken.sum())}/{count} saved examples still break the model"
        words += f"; {self._repeat_words()}"
        if self._lost:
            lost = "reproduction failed (the model is the recorded one)"
            return f"{lost}: {words}" if self.outcome is Outcome.ERROR else f"{words}; {lost}"
        return words

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is odd about the repetition, where it should have been exact."""
        if self._lost:
            return (self._reproduction_failed(),)
        if self.repetition is None or not self._exact:
            return ()
        others = (~self.repetition.identical).nonzero().flatten().tolist()
        largest = self.repetition.largest_difference
        return (self._examples_differ(others, largest),) if others else ()

    @property
    def evidence(self) -> dict[str, Json]:
        """The counts of both halves, and what they rest on."""
        saved, count = self.saved, len(self.still_broken)
        still = int(self.still_broken.sum())
        evidence: dict[str, Json] = {
            "threat": saved.threat.describe(),
            "saved_from": saved.gate,
            "saved_count": count,
            "saved_of": saved.broken_count,
            "still_broken": still,
            "broken_again": None,
            "identical_examples": None,
            "broken_images": self._named(self.broken),
            "verified": f"{still}/{count}",
            "images": self._images(),
            "gate_seed": saved.recipe["gate_seed"],
            "repeat_seed": self.seed,
            "model_digest": self.model_digest,
            "saved_model_digest": saved.recipe["model_digest"],
            "same_model": self.same_model,
            "changed": list(self.changed),
        }
        if self.repetition is None:
            return evidence | {"not_repeated": self._why_not_repeated()}
        measurement = self.repetition.measurement
        return evidence | {
            "broken_again": int(measurement.broken.sum()),
            "identical_examples": int(self.repetition.identical.sum()),
            "misclassified_images": self._named(~measurement.clean_correct),
            "failed_images": self._named(measurement.failed & ~self.broken),
            "attacks": _attack_rows(self.repetition),
        }

    @property
    def _exact(self) -> bool:
        """Whether the same model was attacked with the same draws."""
        return self.same_model is True and self.seed == self.saved.recipe["gate_seed"]

    @property
    def _failed(self) -> list[int]:
        """Rows on which an attack could not be carried out, and that nothing broke."""
        if self.repetition is None:
            return []
        failed = self.repetition.measurement.failed & ~self.broken
        rows: list[int] = failed.nonzero().flatten().tolist()
        return rows

    @property
    def _lost(self) -> list[int]:
        """Rows that the recorded model should break in both halves, and does not."""
        if self.same_model is not True:
            return []
        lost = ~self.still_broken
        if self.repetition is not None and self._exact:
            lost = lost | ~self.repetition.measurement.broken
        rows: list[int] = lost.nonzero().flatten().tolist()
        return rows

    def _repeat_words(self) -> str:
        if self.repetition is None:
            return f"the attack was not repeated ({self._why_not_repeated()})"
        measurement, count = self.repetition.measurement, len(self.still_broken)
        again, identical = int(measurement.broken.sum()), int(self.repetition.identical.sum())
        words = f"the repeated attack breaks {again}/{count} images"
        if again:
            words += f", {identical} by the identical example"
        if self._failed:
            why = _first_failure(self.repetition, self._failed[0])
            words += f" and could not be carried out on {len(self._failed)} ({why})"
        return words

    def _why_not_repeated(self) -> str:
        if self.saved.version == layout.EXAMPLES_ONLY_SCHEMA:
            return f"evidence of the older form {self.saved.version} holds examples only"
        return "this kind of gate recorded no attack"

    def _reproduction_failed(self) -> Finding:
        indices = self._indices(self._lost)
        return Finding(
            name="reproduction-failed",
            severity="error",
            message=(
                f"expected the recorded model to break on all {len(self.still_broken)} images "
                f"again, got {len(indices)} that withstood an example or the repeated attack; "
                f"{self._changed_words()}"
            ),
            fix=(
                "look for what the model depends on besides its weights and its input (files, "
                "time, random draws, versions, device), then run the gate again"
            ),
            evidence={"images": [*indices]},
        )

    def _examples_differ(self, rows: list[int], largest: float) -> Finding:
        indices = self._indices(rows)
        return Finding(
            name="examples-differ",
            severity="note",
            message=(
                f"{len(indices)} images broke again, but not by the recorded example bit by bit "
                f"(pixels differ by at most {largest:.2g}); {self._changed_words()}"
            ),
            fix=(
                "none is needed: sums over batches of another size are rounded otherwise; "
                "a model that sums row by row gives the same bits"
            ),
            evidence={"images": [*indices], "largest_difference": largest},
        )

    def _changed_words(self) -> str:
        if not self.changed:
            return "nothing else is known to have changed"
        return f"changed since: {', '.join(self.changed)}"

    def _indices(self, rows: list[int]) -> list[int]:
        return sorted(self.saved.dataset_indices[row] for row in rows)

    def _named(self, flags: ImageFlags) -> list[Json]:
        return [*self._indices(flags.nonzero().flatten().tolist())]

    def _images(self) -> list[Json]:
        return [self._image(row) for row in range(len(self.still_broken))]

    def _image(self, row: int) -> dict[str, Json]:
        entry: dict[str, Json] = {
            "image": self.saved.dataset_indices[row],
            "attack": self.saved.attack_names[row],
            "still_broken": bool(self.still_broken[row]),
        }
        if self.repetition is not None:
            entry |= {
                "broken_again": bool(self.repetition.measurement.broken[row]),
                "attack_again": self.repetition.attack_names[row],
                "identical": bool(self.repetition.identical[row]),
            }
        return entry


def _attack_rows(repetition: Repetition) -> list[Json]:
    return [
        {
            "name": record.plan.label,
            "title": record.plan.entry.title,
            "parameters": dict(record.plan.parameters),
            "restarts": record.plan.restarts,
            "attacked": record.attacked,
            "broken": record.broken,
            "unverified": len(record.unverified),
            "no_start": len(record.no_start),
            "failed": len(record.failures),
        }
        for record in repetition.measurement.records
    ]


def _first_failure(repetition: Repetition, row: int) -> str:
    records = repetition.measurement.records
    return next(record.failures[row] for record in records if row in record.failures)
