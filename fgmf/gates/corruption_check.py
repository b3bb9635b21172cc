"""Carrying out a corruption gate: preflight, sample, measure, judge, keep the evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fgmf.corruption_accuracy import (
    CorruptionMeasurement,
    CorruptionPlan,
    CorruptionThresholds,
    judge_corruptions,
    measure_corruptions,
    plan_cells,
)
from fgmf.corruptions.applying import check_images
from fgmf.gates.checking import GateCheck, deadline_after, settled
from fgmf.gates.corruption_evidence import evidence_of_corruptions
from fgmf.gates.examples import save_examples
from fgmf.threat import ThreatModel
from fgmf.verdict import Verdict

if TYPE_CHECKING:
    from fgmf.classifier import Classifier
    from fgmf.gates.corruption import CorruptionGate
    from fgmf.gates.specification import RunContext
    from fgmf.gates.subject import MeasuredImages
    from fgmf.types import Images, Labels


def check_corruptions(
    gate: CorruptionGate,
    classifier: Classifier,
    images: Images,
    labels: Labels,
    context: RunContext,
) -> Verdict:
    """Carry out a corruption gate; see :meth:`fgmf.gates.CorruptionGate.check`."""
    check = _Check(
        gate=gate,
        kind=gate.kind,
        threshold=gate.min_corruption_accuracy,
        classifier=classifier,
        context=context,
    )
    return check.carry_out(images, labels)


@dataclass(kw_only=True)
class _Check(GateCheck):
    gate: CorruptionGate

    def run(self, images: Images, labels: Labels) -> Verdict:
        gate, deadline = self.gate, deadline_after(self.gate.max_seconds)
        samples = self.inspected(images, labels, needs_gradient=False)
        subject = self.chosen(samples, count=gate.images)
        check_images(subject.images)
        plan = CorruptionPlan(
            cells=plan_cells(gate.corruptions, gate.severities),
            bounds=self.classifier.bounds,
            seed=self.seed,
            deadline=deadline,
            expect_steady="nondeterministic-output" not in gate.waive,
            on_progress=self.report_progress,
        )
        with self.guarded():
            measurement = measure_corruptions(
                self.classifier, subject.images, subject.labels, plan, keys=subject.keys
            )
        return self._verdict(measurement, subject)

    def _verdict(self, measurement: CorruptionMeasurement, subject: MeasuredImages) -> Verdict:
        gate = self.gate
        thresholds = CorruptionThresholds(
            corruption_accuracy=gate.min_corruption_accuracy,
            mean_corruption_accuracy=gate.min_mean_corruption_accuracy,
            clean_accuracy=gate.min_clean_accuracy,
            confidence=gate.confidence,
            population=gate.population,
            dataset_size=subject.dataset_size,
        )
        conditions = judge_corruptions(measurement, thresholds)
        outcome, reason = settled(
            conditions, failure=self._failure(measurement), undecided=self._undecided(measurement)
        )
        verdict = Verdict(
            gate=self.name,
            kind=gate.kind,
            outcome=outcome,
            reason=reason,
            measured=conditions[0].measured,
            interval=conditions[0].interval,
            threshold=conditions[0].threshold,
            image_count=len(subject.indices),
            seed=self.seed,
            reproduce=self.context.reproduce,
            conditions=conditions,
            findings=self.findings,
            evidence=evidence_of_corruptions(gate, measurement, subject, self.classifier),
        )
        lower, upper = self.classifier.bounds
        return save_examples(
            verdict,
            measurement.examples,
            subject,
            # A corruption may change everything, inside the bounds.
            threat=ThreatModel(norm="linf", epsilon=upper - lower, bounds=(lower, upper)),
            gate=gate,
            context=self.context,
            verified=measurement.verified,
        )

    @property
    def _mean_asked(self) -> bool:
        """The mean needs every image under every corruption, broken ones, too."""
        return self.gate.min_mean_corruption_accuracy is not None

    def _failure(self, measurement: CorruptionMeasurement) -> str | None:
        failed = measurement.failed.nonzero().flatten().tolist()
        if self._mean_asked:
            failed = sorted(measurement.failures)
        if not failed:
            return None
        label, why = measurement.failures[failed[0]]
        return f"{len(failed)} images could not be measured (first at {label}: {why})"

    def _undecided(self, measurement: CorruptionMeasurement) -> int:
        if self._mean_asked:
            return int((~measurement.measured.all(dim=0)).sum())
        return int(measurement.undecided.sum())
