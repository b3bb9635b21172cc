"""What carrying out a gate has in common, whatever its kind measures.

Time and passes are taken, errors of ours become outcome ERROR, FAIL goes before ERROR before
INCONCLUSIVE before PASS, and no waiver makes a PASS.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import torch

from fgmf.datasets import collect_samples
from fgmf.errors import FgmfError, GateError
from fgmf.gates.specification import Progress
from fgmf.gates.subject import choose_images
from fgmf.preflight import blocking, inspect
from fgmf.preflight.policy import GRADIENT_MASKING, forbidding
from fgmf.seeding import derive_seed
from fgmf.verdict import Condition, Cost, Finding, Outcome, Verdict

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from fgmf.classifier import Classifier
    from fgmf.datasets import Samples
    from fgmf.gates.specification import GateSpecification, RunContext
    from fgmf.gates.subject import MeasuredImages
    from fgmf.threat import ThreatModel
    from fgmf.types import Images, Labels


@dataclass(kw_only=True)
class GateCheck(ABC):
    """One gate on its way to a verdict; each kind says what it measures in `run`.

    Attributes:
        gate: Its specification.
        kind: Kind of the gate.
        threshold: Threshold on the main quantity.
        classifier: The model.
        context: Facts about the run.
        findings: Of the preflight, once it was there.
        elsewhere: Passes that other processes made for this gate.
        follows_margin: One of its attacks follows the margin, which saturation does not flatten.
    """

    gate: GateSpecification
    kind: str
    threshold: float
    classifier: Classifier
    context: RunContext
    findings: tuple[Finding, ...] = ()
    elsewhere: Cost = field(default_factory=Cost)
    follows_margin: bool = False

    @abstractmethod
    def run(self, images: Images, labels: Labels) -> Verdict:
        """Measure and judge."""

    @property
    def name(self) -> str:
        """Name of the gate; an unnamed one takes its kind."""
        return self.gate.name or self.kind

    @property
    def seed(self) -> int:
        """The gate's seed: its own, or one derived from the run's and the name."""
        own = self.gate.seed
        return derive_seed(self.context.run_seed, self.name) if own is None else own

    def carry_out(self, images: Images, labels: Labels) -> Verdict:
        """Run the gate, take its cost, and turn errors of ours into outcome ERROR."""
        started = time.perf_counter()
        meter = self.classifier.cost_meter
        before = meter.reading()
        try:
            # Attacks need gradients, whatever mode the caller's code runs in.
            with torch.inference_mode(mode=False):
                verdict = self.run(images, labels)
        except FgmfError as error:
            verdict = self.error(str(error))
        own = meter.since(before, seconds=time.perf_counter() - started)
        return self.finished(verdict, own + self.elsewhere)

    def inspected(
        self,
        images: Images,
        labels: Labels,
        *,
        needs_gradient: bool,
        threat: ThreatModel | None = None,
    ) -> Samples:
        """Take the data, and look for mistakes in how model and data are used.

        Args:
            images: As the user gave them.
            labels: Likewise.
            needs_gradient: Whether what follows uses gradients.
            threat: What an adversary may do, where there is one.

        Raises:
            GateError: A finding leaves nothing to measure; all findings are kept.
        """
        samples = collect_samples((images, labels))
        self.findings = inspect(
            self.classifier,
            samples,
            threat=threat,
            kind=self.kind,
            waive=self.gate.waive,
            seed=self.seed,
            needs_gradient=needs_gradient,
        )
        blocked = self.blocked()
        if blocked is not None:
            raise GateError(blocked.reason)
        return samples

    def chosen(
        self,
        samples: Samples,
        *,
        count: int | Literal["all"],
        without_class: int | None = None,
        random_order: bool = False,
    ) -> MeasuredImages:
        """The images that are measured, of this gate's seed: see :func:`choose_images`."""
        return choose_images(
            samples,
            count=count,
            seed=self.seed,
            bounds=self.classifier.bounds,
            dtype=self.classifier.dtype,
            without_class=without_class,
            random_order=random_order,
        )

    def guarded(self) -> AbstractContextManager[object]:
        """The classifier's guard, which lets changes pass that the gate waives."""
        accepted = "forward-changes-state" in self.gate.waive
        return self.classifier.guard(seed=self.seed, tolerate_changes=accepted)

    def blocked(self) -> Verdict | None:
        """The verdict where the findings leave nothing to measure; None where they don't."""
        errors = blocking(self.findings)
        if not errors:
            return None
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        return self.error(f"{errors[0].name}: {errors[0].message}{more}")

    def error(self, reason: str) -> Verdict:
        """The verdict on a gate that could not be measured."""
        return Verdict(
            gate=self.name,
            kind=self.kind,
            outcome=Outcome.ERROR,
            reason=reason,
            threshold=self.threshold,
            seed=self.seed,
            reproduce=self.context.reproduce,
            findings=self.findings,
        )

    def finished(self, verdict: Verdict, cost: Cost) -> Verdict:
        """Add what every verdict carries, and see to it that no waiver makes a PASS."""
        accepted = self.gate.inconclusive == "pass"
        accepted &= verdict.outcome is Outcome.INCONCLUSIVE
        forbidden = forbidding(self.findings, follows_margin=self.follows_margin)
        if forbidden and verdict.outcome in {Outcome.PASS, Outcome.INCONCLUSIVE}:
            accepted = False
            if verdict.outcome is Outcome.PASS:
                first = forbidden[0]
                reason = (
                    f"every threshold is met, but {first.name} is waived, and attacks fail on such "
                    f"a model whether it is robust or not: {first.message}; a gate of kind "
                    f"{GRADIENT_MASKING!r} has to judge it"
                )
                verdict = replace(verdict, outcome=Outcome.ERROR, reason=reason)
        return replace(verdict, cost=cost, accepted=accepted)

    def report_progress(self, done: int, total: int, stage: str) -> None:
        """Tell the run where the gate stands."""
        if self.context.on_progress is not None:
            self.context.on_progress(Progress(gate=self.name, stage=stage, done=done, total=total))


def deadline_after(seconds: float | None) -> float | None:
    """Value of ``time.monotonic()`` when a budget that begins now is spent; None without one."""
    return None if seconds is None else time.monotonic() + seconds


def settled(
    conditions: tuple[Condition, ...], *, failure: str | None, undecided: int
) -> tuple[Outcome, str]:
    """Join conditions to one outcome.

    Args:
        conditions: At least one.
        failure: Why some images could not be measured; None if all could.
        undecided: Images that time ran out for.

    Returns:
        The outcome and its reason. A FAIL stands whatever the unmeasured images are; a PASS
        needs every image.
    """
    failing = [condition for condition in conditions if condition.outcome is Outcome.FAIL]
    if failing:
        side = "below" if failing[0].direction == "at-least" else "above"
        return Outcome.FAIL, f"{failing[0].quantity} is {side} its threshold"
    if failure is not None:
        return Outcome.ERROR, failure
    if undecided:
        return Outcome.INCONCLUSIVE, f"max_seconds ran out with {undecided} images undecided"
    open_ones = [c for c in conditions if c.outcome is Outcome.INCONCLUSIVE]
    if open_ones:
        return Outcome.INCONCLUSIVE, (
            f"the interval of {open_ones[0].quantity} contains its threshold; more images decide"
        )
    return Outcome.PASS, "every threshold is met"
