"""What a mask-log gate looks at beside the log's integrity: masks, policies, spot checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fgmf.gates.mask_log_pictures import SampleMasks
from fgmf.mask_log import MaskLook
from fgmf.mask_log.spot_checks import SampleChoice, check_samples
from fgmf.verdict import Condition, Interval, Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from fgmf.gates.mask_log import MaskLogGate
    from fgmf.mask_log import LogReport
    from fgmf.mask_log.decisions import DecisionJoin
    from fgmf.mask_log.streams import Observer
    from fgmf.types import Direction, Json


@dataclass(kw_only=True)
class Looks:
    """Looks at a log, while it is read and afterwards.

    Attributes:
        gate: What is asked for.
        masks: Looks at every mask.
        choice: Chooses samples for spot checks; None where none are asked for.
        samples: Keeps masks to be shown.
        wrong_samples: Spot checks that found another mask, in words.
        join: Joins the streams of a team's agents; None where the log is of one model.
    """

    gate: MaskLogGate
    masks: MaskLook
    choice: SampleChoice | None
    samples: SampleMasks
    wrong_samples: list[str] = field(default_factory=list)
    join: DecisionJoin | None = None

    @property
    def observers(self) -> list[Observer]:
        """What looks at every batch."""
        shown = self.samples if self.samples.count else None
        asked = (self.masks, shown, self.choice, self.join)
        return [look for look in asked if look is not None]

    def check_samples(self) -> None:
        """Make the chosen masks again.

        Raises:
            FactoryFailed: The layer cannot be made.
        """
        if self.choice is None or self.gate.layer is None or not self.choice.chosen:
            return
        self.wrong_samples = [
            f"stream {sample.stream}, record {sample.record}, row {sample.row}: {how}"
            for sample, how in check_samples(self.choice, self.gate.layer)
        ]

    def failure(self) -> str | None:
        """Say in one line what is wrong; None where nothing is."""
        for stream, line, record in self.masks.lines():
            return f"stream {stream}, record {record}: {line}"
        if self.wrong_samples:
            more = len(self.wrong_samples) - 1
            shown = self.wrong_samples[0] + (f" (and {more} more)" if more else "")
            return f"a mask made again is another: {shown}"
        lines = [] if self.join is None else list(self.join.lines())
        if lines:
            others = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
            return f"decisions do not join: {lines[0]}{others}"
        return None

    def open_question(self) -> str | None:
        """Say in one line what was asked for and could not be looked at."""
        if self.choice is not None and not self.choice.chosen:
            count = self.choice.samples
            return f"spot checks: not checked, none of {count} samples keeps its input and weights"
        if self.join is not None and (self.join.too_many or not self.join.decisions):
            what = "too many decisions" if self.join.too_many else "no decision"
            return f"decisions: not joined, the log holds {what}"
        return None

    def conditions(self, report: LogReport) -> tuple[Condition, ...]:
        """Hold policies against what was seen."""
        gate, found = self.gate, []
        share = self.masks.protected_share
        passes = sum(stream.batches for stream in report.streams)
        skipped = sum(stream.skipped + stream.lost for stream in report.streams)
        coverage = passes / (passes + skipped) if passes else None
        asked: tuple[tuple[str, float | None, float | None, Direction], ...] = (
            ("protected_share", share, gate.min_protected_share, "at-least"),
            ("protected_share", share, gate.max_protected_share, "at-most"),
            ("coverage", coverage, gate.min_coverage, "at-least"),
        )
        for quantity, measured, threshold, direction in asked:
            if threshold is not None:
                found.append(_condition(quantity, measured, threshold, direction))
        return tuple(found)

    def evidence(self, report: LogReport) -> dict[str, Json]:
        """Return what was looked at."""
        evidence: dict[str, Json] = {
            "masks_looked_at": self.masks.samples,
            "pictures": self.samples.pictures(),
            "policies": [
                {
                    "quantity": condition.quantity,
                    "measured": condition.measured,
                    "threshold": condition.threshold,
                    "direction": condition.direction,
                    "outcome": str(condition.outcome),
                }
                for condition in self.conditions(report)
            ],
        }
        if self.join is not None:
            evidence["join"] = self.join.evidence()
        if self.choice is not None:
            samples, resolvable = self.choice.samples, self.choice.resolvable
            evidence["spot_checks"] = {
                "checked": len(self.choice.chosen),
                "resolvable": resolvable,
                "resolvable_share": resolvable / samples if samples else 0.0,
                "wrong": list(self.wrong_samples),
            }
        return evidence


def looks_of(gate: MaskLogGate, path: Path, *, seed: int) -> Looks:
    """Prepare the looks that a gate asks for.

    Args:
        gate: The gate.
        path: Directory of the log.
        seed: Fixes which samples are checked.
    """
    from fgmf.mask_log.places import LogDirectory

    masks = MaskLook(
        floor=gate.min_saliency_mask,
        invertible=gate.invertible,
        protected_below=gate.protected_below if _counts_pixels(gate) else None,
    )
    choice = None
    if gate.spot_checks:
        directory = LogDirectory(path=path)
        choice = SampleChoice(directory=directory, count=gate.spot_checks, seed=seed)
    shown = gate.pictures if gate.save_failures else 0
    return Looks(gate=gate, masks=masks, choice=choice, samples=SampleMasks(count=shown))


def _counts_pixels(gate: MaskLogGate) -> bool:
    return gate.min_protected_share is not None or gate.max_protected_share is not None


def _condition(
    quantity: str, measured: float | None, threshold: float, direction: Direction
) -> Condition:
    """Hold an exact value against a threshold; one that there is not decides nothing."""
    outcome, interval = Outcome.INCONCLUSIVE, None
    if measured is not None:
        interval = Interval(lower=measured, upper=measured, confidence=1.0, method="exact")
        good = measured >= threshold if direction == "at-least" else measured <= threshold
        outcome = Outcome.PASS if good else Outcome.FAIL
    return Condition(
        quantity=quantity,
        measured=measured,
        interval=interval,
        threshold=threshold,
        direction=direction,
        outcome=outcome,
    )
