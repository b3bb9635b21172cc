"""Carrying out a robustness gate: preflight, sample, measure, judge, keep the evidence."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from fgmf.attacks.catalogue import (
    CATALOGUE,
    DEFAULT_ATTACKS,
    DEFAULT_PARAMETERS,
    GRADIENT_FREE_ATTACKS,
    TARGETED_ATTACKS,
)
from fgmf.attacks.criteria import Criterion
from fgmf.attacks.plans import AttackPlan, plan_attacks
from fgmf.canonical import tensor_digest
from fgmf.datasets import Samples, collect_samples
from fgmf.errors import FgmfError, InvalidInput
from fgmf.gates.robustness_evidence import MeasuredImages, evidence_of, keep_examples
from fgmf.gates.specification import Progress
from fgmf.preflight import blocking, forbidding, inspect
from fgmf.preflight.policy import GRADIENT_MASKING
from fgmf.robustness import (
    RobustnessMeasurement,
    RobustnessPlan,
    Thresholds,
    judge_robustness,
    measure_robustness,
)
from fgmf.seeding import derive_seed
from fgmf.statistics import stratified_sample
from fgmf.verdict import Condition, Cost, Finding, Outcome, Verdict

if TYPE_CHECKING:
    from fgmf.classifier import Classifier
    from fgmf.gates.robustness import RobustnessGate
    from fgmf.gates.specification import RunContext
    from fgmf.threat import ThreatModel
    from fgmf.types import Images, Labels


def check_robustness(
    gate: RobustnessGate,
    classifier: Classifier,
    images: Images,
    labels: Labels,
    context: RunContext,
) -> Verdict:
    """Carry out a robustness gate; see :meth:`fgmf.gates.RobustnessGate.check`."""
    started = time.perf_counter()
    before = classifier.cost_meter.reading()
    name = gate.name or gate.kind
    seed = derive_seed(context.run_seed, name) if gate.seed is None else gate.seed
    check = _Check(gate=gate, name=name, seed=seed, classifier=classifier, context=context)
    try:
        # Attacks need gradients, whatever mode the caller's code runs in.
        with torch.inference_mode(mode=False):
            verdict = check.run(images, labels)
    except FgmfError as error:
        verdict = check.error(str(error))
    cost = classifier.cost_meter.since(before, seconds=time.perf_counter() - started)
    return check.finished(verdict, cost)


@dataclass(kw_only=True)
class _Check:
    gate: RobustnessGate
    name: str
    seed: int
    classifier: Classifier
    context: RunContext
    findings: tuple[Finding, ...] = ()

    def run(self, images: Images, labels: Labels) -> Verdict:
        gate, deadline = self.gate, None
        if gate.max_seconds is not None:
            deadline = time.monotonic() + gate.max_seconds
        threat = gate.threat_model(self.classifier.bounds)
        plans = self._plans()
        samples = collect_samples((images, labels))
        self.findings = inspect(
            self.classifier,
            samples,
            threat=threat,
            kind=gate.kind,
            waive=gate.waive,
            seed=self.seed,
            needs_gradient=any(plan.entry.needs_gradient for plan in plans),
        )
        blocked = blocking(self.findings)
        if blocked:
            more = f" (and {len(blocked) - 1} more)" if len(blocked) > 1 else ""
            return self.error(f"{blocked[0].name}: {blocked[0].message}{more}")
        subject = self._subject(samples)
        plan = RobustnessPlan(
            threat=threat,
            attacks=plans,
            seed=self.seed,
            deadline=deadline,
            expect_steady="nondeterministic-output" not in gate.waive,
            on_progress=self._report_progress,
        )
        accepted = "forward-changes-state" in gate.waive
        with self.classifier.guard(seed=self.seed, tolerate_changes=accepted):
            measurement = measure_robustness(
                self.classifier, subject.images, self._criterion(subject), plan, keys=subject.keys
            )
        return self._verdict(measurement, subject, threat)

    def error(self, reason: str) -> Verdict:
        """The verdict on a gate that could not be measured."""
        return Verdict(
            gate=self.name,
            kind=self.gate.kind,
            outcome=Outcome.ERROR,
            reason=reason,
            threshold=self.gate.min_robust_accuracy,
            seed=self.seed,
            reproduce=self.context.reproduce,
            findings=self.findings,
        )

    def finished(self, verdict: Verdict, cost: Cost) -> Verdict:
        """Add what every verdict carries, and see to it that no waiver makes a PASS."""
        accepted = self.gate.inconclusive == "pass"
        forbidden = forbidding(self.findings)
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

    def _plans(self) -> tuple[AttackPlan, ...]:
        gate = self.gate
        named = [(attack.name, attack.parameters, attack.restarts) for attack in gate.attacks]
        if not named:
            table = DEFAULT_ATTACKS if gate.criterion != "targeted" else TARGETED_ATTACKS
            if not self.classifier.gradient_available:
                table = GRADIENT_FREE_ATTACKS
            named = [(n, dict(DEFAULT_PARAMETERS.get(n, {})), None) for n in table[gate.norm]]
        if not named:
            message = f"attacks that need no gradient for norm {gate.norm}, but there are none"
            raise InvalidInput(f"expected {message}; gate the PyTorch model")
        for name, _, _ in named:
            entry = CATALOGUE[name]
            if entry.needs_gradient and not self.classifier.gradient_available:
                free = ", ".join(e.name for e in CATALOGUE.values() if not e.needs_gradient)
                message = f"expected a model with gradients for {name}, got {self.classifier.name}"
                raise InvalidInput(f"{message}; choose from {free}, or gate the PyTorch model")
            if gate.criterion == "targeted" and not entry.targeted:
                raise InvalidInput(f"expected attacks that can aim at a target, got {name}")
        return plan_attacks(named, restarts=gate.restarts)

    def _subject(self, samples: Samples) -> MeasuredImages:
        dtype = torch.float64 if self.classifier.dtype is torch.float64 else torch.float32
        labels = samples.labels.flatten().to(torch.int64)
        eligible = list(range(len(labels)))
        if isinstance(self.gate.target, int):
            eligible = [at for at in eligible if int(labels[at]) != self.gate.target]
        if not eligible:
            raise InvalidInput("expected images of other classes than the target, got none")
        count = len(eligible) if self.gate.images == "all" else self.gate.images
        own_labels = [int(labels[at]) for at in eligible]
        chosen = stratified_sample(own_labels, count=min(count, len(eligible)), seed=self.seed)
        indices = [eligible[at] for at in chosen]
        lower, upper = self.classifier.bounds
        images = samples.images[indices].to(dtype).clamp(lower, upper)
        return MeasuredImages(
            images=images,
            labels=labels[indices],
            indices=indices,
            keys=[tensor_digest(image) for image in images],
            class_sizes=dict(Counter(own_labels)),
            dataset_size=len(eligible),
        )

    def _criterion(self, subject: MeasuredImages) -> Criterion:
        gate = self.gate
        targets = None
        if isinstance(gate.target, int):
            targets = torch.full_like(subject.labels, gate.target)
        elif gate.target == "least-likely":
            logits = self.classifier.logits_in_batches(subject.images)
            logits[torch.arange(len(logits)), subject.labels] = torch.inf
            targets = logits.argmin(dim=1)
        return Criterion(
            kind=gate.criterion, labels=subject.labels, targets=targets, top_k=gate.top_k or 1
        )

    def _verdict(
        self, measurement: RobustnessMeasurement, subject: MeasuredImages, threat: ThreatModel
    ) -> Verdict:
        gate = self.gate
        thresholds = Thresholds(
            robust_accuracy=gate.min_robust_accuracy,
            clean_accuracy=gate.min_clean_accuracy,
            worst_class_robust_accuracy=gate.min_worst_class_robust_accuracy,
            confidence=gate.confidence,
            population=gate.population,
            dataset_size=subject.dataset_size,
            class_sizes=subject.class_sizes,
        )
        conditions = judge_robustness(measurement, thresholds)
        outcome, reason = _outcome(conditions, measurement)
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
            evidence=evidence_of(gate, measurement, subject, threat, self.classifier),
        )
        directory = self.context.failures_directory
        if directory is None or not gate.save_failures:
            return verdict
        try:
            return keep_examples(
                verdict,
                measurement,
                subject,
                gate=gate,
                directory=directory,
                root=self.context.root,
            )
        except OSError as error:
            # The verdict stands without its pictures.
            evidence = {**verdict.evidence, "examples_not_saved": f"{error.strerror}: {directory}"}
            return replace(verdict, evidence=evidence)

    def _report_progress(self, done: int, total: int, stage: str) -> None:
        if self.context.on_progress is not None:
            self.context.on_progress(Progress(gate=self.name, stage=stage, done=done, total=total))


def _outcome(
    conditions: tuple[Condition, ...], measurement: RobustnessMeasurement
) -> tuple[Outcome, str]:
    failing = [condition for condition in conditions if condition.outcome is Outcome.FAIL]
    if failing:
        return Outcome.FAIL, f"{failing[0].quantity} is below its threshold"
    if bool(measurement.failed.any()):
        # An image may have failed for an attack and been broken by another: that one tells nothing.
        first = int(measurement.failed.nonzero()[0])
        record = next(record for record in measurement.records if first in record.failures)
        why = record.failures[first]
        count = int(measurement.failed.sum())
        return Outcome.ERROR, (
            f"{record.plan.entry.title} could not be carried out on {count} images that nothing "
            f"else broke ({why})"
        )
    if bool(measurement.undecided.any()):
        count = int(measurement.undecided.sum())
        return Outcome.INCONCLUSIVE, f"max_seconds ran out with {count} images undecided"
    open_ones = [c for c in conditions if c.outcome is Outcome.INCONCLUSIVE]
    if open_ones:
        return Outcome.INCONCLUSIVE, (
            f"the interval of {open_ones[0].quantity} contains its threshold; more images decide"
        )
    return Outcome.PASS, "every threshold is met"
