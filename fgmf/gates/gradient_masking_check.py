"""Carrying out a gradient-masking gate: preflight, sample, examine, judge, keep the evidence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fgmf.attacks.plans import AttackPlan, plan_attacks
from fgmf.attacks.suites import GRADIENT_FREE_SUITE, find_suite
from fgmf.gates.checking import GateCheck, deadline_after
from fgmf.gates.examples import save_examples
from fgmf.gates.gradient_masking_evidence import evidence_of_masking, reason_of_masking
from fgmf.gates.robustness_attacks import named_attack
from fgmf.gates.subject import MeasuredImages, choose_images
from fgmf.gradient_masking import (
    MaskingJudgement,
    MaskingMeasurement,
    MaskingPlan,
    judge_masking,
    measure_gradient_masking,
)
from fgmf.gradient_masking.curves import MaskingCurves, measure_curves
from fgmf.gradient_masking.mechanisms import REMEDIES
from fgmf.preflight.policy import in_order
from fgmf.seeding import derive_seed
from fgmf.verdict import Finding, Outcome, Verdict

if TYPE_CHECKING:
    from fgmf.classifier import Classifier
    from fgmf.datasets import Samples
    from fgmf.gates.gradient_masking import GradientMaskingGate
    from fgmf.gates.specification import RunContext
    from fgmf.types import Images, Labels

SUSPICION = "gradients-suspicious"
"""Name of the warning that a suspicious model gets where it is let through."""


def check_gradient_masking(
    gate: GradientMaskingGate,
    classifier: Classifier,
    images: Images,
    labels: Labels,
    context: RunContext,
) -> Verdict:
    """Carry out a gradient-masking gate; see :meth:`fgmf.gates.GradientMaskingGate.check`."""
    check = _Check(
        gate=gate,
        kind=gate.kind,
        threshold=gate.min_gap,
        classifier=classifier,
        context=context,
        follows_margin=True,
    )
    return check.carry_out(images, labels)


def curves_of_gate(
    gate: GradientMaskingGate, classifier: Classifier, samples: Samples, *, run_seed: int
) -> MaskingCurves:
    """Measure what a picture of a gate's evidence shows, on the gate's own scouts.

    Args:
        gate: Its specification.
        classifier: Its model.
        samples: Its data.
        run_seed: Seed of the run.

    Cost: see :func:`fgmf.gradient_masking.curves.measure_curves`.
    """
    seed = derive_seed(run_seed, gate.name or gate.kind) if gate.seed is None else gate.seed
    subject = choose_images(
        samples, count=gate.images, seed=seed, bounds=classifier.bounds, dtype=classifier.dtype
    )
    plan = MaskingPlan(threat=gate.threat_model(classifier.bounds), seed=seed)
    return measure_curves(classifier, subject.images, subject.labels, plan, keys=subject.keys)


@dataclass(kw_only=True)
class _Check(GateCheck):
    gate: GradientMaskingGate

    def error(self, reason: str) -> Verdict:
        """The verdict on a gate that could not be measured."""
        return replace(super().error(reason), direction="at-most")

    def run(self, images: Images, labels: Labels) -> Verdict:
        gate, deadline = self.gate, deadline_after(self.gate.max_seconds)
        threat = gate.threat_model(self.classifier.bounds)
        samples = self.inspected(
            images, labels, needs_gradient=self.classifier.gradient_available, threat=threat
        )
        subject = self.chosen(samples, count=gate.images)
        plan = MaskingPlan(
            threat=threat,
            suite=self._suite_plans(random_output=False),
            random_suite=self._suite_plans(random_output=True),
            suite_name=self._suite_name,
            seed=self.seed,
            min_gap=gate.min_gap,
            confidence=gate.confidence,
            deadline=deadline,
            on_progress=self.report_progress,
        )
        measurement = measure_gradient_masking(
            self.classifier, subject.images, subject.labels, plan, keys=subject.keys
        )
        judgement = judge_masking(measurement, min_gap=gate.min_gap, confidence=gate.confidence)
        return self._verdict(measurement, judgement, subject)

    @property
    def _suite_name(self) -> str:
        if self.gate.suite is None and not self.classifier.gradient_available:
            return GRADIENT_FREE_SUITE
        return self.gate.suite_or_default

    def _suite_plans(self, *, random_output: bool) -> tuple[AttackPlan, ...]:
        """As the robustness gate plans them: on a random model a suite averages over draws."""
        suite = find_suite(self._suite_name)
        if suite is None:
            return ()
        chosen = suite.attacks_for(self.gate.norm, "misclassification", random_output=random_output)
        draws = suite.draws if random_output else 1
        return plan_attacks([named_attack(a, draws=draws) for a in chosen], restarts=1)

    def _verdict(
        self,
        measurement: MaskingMeasurement,
        judgement: MaskingJudgement,
        subject: MeasuredImages,
    ) -> Verdict:
        gate = self.gate
        outcome = self._outcome(judgement)
        widest = judgement.gaps[0] if judgement.gaps else None
        verdict = Verdict(
            gate=self.name,
            kind=gate.kind,
            outcome=outcome,
            reason=reason_of_masking(measurement, judgement, min_gap=gate.min_gap),
            measured=None if widest is None else widest.measured,
            interval=None if widest is None else widest.interval,
            threshold=gate.min_gap,
            direction="at-most",
            image_count=len(subject.indices),
            seed=self.seed,
            reproduce=self.context.reproduce,
            findings=self.findings,
            evidence=evidence_of_masking(gate, measurement, judgement, subject, self.classifier),
        )
        return save_examples(
            verdict,
            measurement.examples,
            subject,
            threat=gate.threat_model(self.classifier.bounds),
            gate=gate,
            context=self.context,
            verified=len(measurement.examples),
        )

    def _outcome(self, judgement: MaskingJudgement) -> Outcome:
        if judgement.finding == "masked":
            return Outcome.FAIL
        if judgement.finding == "undecided":
            return Outcome.INCONCLUSIVE
        if judgement.finding == "clean":
            return Outcome.PASS
        if self.gate.suspicious == "fail":
            return Outcome.FAIL
        self.findings = in_order((*self.findings, _suspicion(judgement)))
        return Outcome.PASS


def _suspicion(judgement: MaskingJudgement) -> Finding:
    first = next(symptom for symptom in judgement.symptoms if symptom.alarming)
    remedies = [REMEDIES[mechanism] for mechanism in judgement.mechanisms]
    return Finding(
        name=SUSPICION,
        severity="warning",
        message=f"{first.name}: {first.note}",
        fix="; ".join(remedies),
        evidence={"symptoms": [symptom.name for symptom in judgement.symptoms]},
    )
