"""Carrying out a robustness gate: preflight, sample, measure, judge, keep the evidence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from fgmf.attacks.criteria import Criterion
from fgmf.caching import open_cache
from fgmf.gates.checking import GateCheck, deadline_after, settled
from fgmf.gates.examples import save_examples
from fgmf.gates.leniency import observe_leniency
from fgmf.gates.robustness_attacks import gate_plans
from fgmf.gates.robustness_evidence import evidence_of, rerun_of
from fgmf.gates.robustness_explaining import explained_examples
from fgmf.gates.robustness_sources import add_sources, prepare_sources
from fgmf.preflight.policy import in_order, judge_observations
from fgmf.robustness import (
    RobustnessMeasurement,
    RobustnessPlan,
    Thresholds,
    judge_robustness,
    measure_shared,
    measure_until_enough,
)
from fgmf.verdict import Cost, Outcome, Verdict

if TYPE_CHECKING:
    from fgmf.attacks.plans import AttackPlan
    from fgmf.caching import DiskCache
    from fgmf.classifier import Classifier
    from fgmf.datasets import Samples
    from fgmf.gates.robustness import RobustnessGate
    from fgmf.gates.specification import RunContext
    from fgmf.gates.subject import MeasuredImages
    from fgmf.types import Images, Json, Labels


def check_robustness(
    gate: RobustnessGate,
    classifier: Classifier,
    images: Images,
    labels: Labels,
    context: RunContext,
) -> Verdict:
    """Carry out a robustness gate; see :meth:`fgmf.gates.RobustnessGate.check`."""
    check = _Check(
        gate=gate,
        kind=gate.kind,
        threshold=gate.min_robust_accuracy,
        classifier=classifier,
        context=context,
    )
    return check.carry_out(images, labels)


@dataclass(kw_only=True)
class _Check(GateCheck):
    gate: RobustnessGate

    def run(self, images: Images, labels: Labels) -> Verdict:
        gate, deadline = self.gate, deadline_after(self.gate.max_seconds)
        threat = gate.threat_model(self.classifier.bounds)
        plans = gate_plans(gate, gradient_available=self.classifier.gradient_available)
        samples = self.inspected(
            images,
            labels,
            needs_gradient=any(plan.entry.needs_gradient for plan in plans),
            threat=threat,
        )
        subject, plans = self._subject(samples), self._plans_seen()
        self._remark(subject, plans)
        self.follows_margin = any(plan.entry.follows_margin for plan in plans)
        plan = RobustnessPlan(
            threat=threat,
            attacks=plans,
            seed=self.seed,
            deadline=deadline,
            expect_steady="nondeterministic-output" not in gate.waive,
            on_progress=self.report_progress,
            sources=prepare_sources(
                plans,
                self.classifier,
                subject,
                threat=threat,
                seed=self.seed,
                context=self.context,
            ),
        )
        meter = self.classifier.cost_meter
        before = meter.reading()
        surrogates_before = plan.sources.passes(besides=self.classifier)
        cache = self._cache(plan)
        with self.guarded():
            measurement = self._measured(subject, replace(plan, cache=cache))
        self.elsewhere = Cost(cached_images=measurement.cost.cached_images)
        self.elsewhere += plan.sources.passes(besides=self.classifier) - surrogates_before
        if self.context.processes is not None:
            own = meter.since(before, seconds=measurement.cost.seconds)
            self.elsewhere = measurement.cost - own
        self.elsewhere += plan.sources.trained
        if cache is not None:  # past the guard: an error of the model would be forgotten otherwise
            cache.write()
        with self.guarded():
            explained = self._explained(measurement, subject)
        verdict = self._verdict(measurement, subject, plan)
        return replace(verdict, evidence={**verdict.evidence, **explained})

    def _explained(
        self, measurement: RobustnessMeasurement, subject: MeasuredImages
    ) -> dict[str, Json]:
        """Pictures of what broke, where the gate asks for them and images may be shown."""
        gate = self.gate
        if gate.explain_broken is None or not gate.save_failures:
            return {}
        return explained_examples(
            gate.explain_broken, self.classifier, measurement.examples, subject, seed=self.seed
        )

    def _remark(self, subject: MeasuredImages, plans: tuple[AttackPlan, ...]) -> None:
        """Add what is to be said of a gate that nearly every model passes."""
        observed = observe_leniency(
            threshold=self.gate.min_robust_accuracy,
            class_sizes=subject.class_sizes,
            plans=plans,
            gradient_available=self.classifier.gradient_available,
        )
        found = judge_observations(observed, kind=self.kind, waive=self.gate.waive)
        self.findings = in_order((*self.findings, *found))

    def _measured(self, subject: MeasuredImages, plan: RobustnessPlan) -> RobustnessMeasurement:
        criterion = criterion_of(self.gate, self.classifier, subject)
        if not self.gate.sequential:
            return measure_shared(
                self.classifier,
                subject.images,
                criterion,
                plan,
                keys=subject.keys,
                processes=self.context.processes,
            )
        thresholds = self._thresholds(subject)

        def is_decided(known: RobustnessMeasurement) -> bool:
            outcomes = {condition.outcome for condition in judge_robustness(known, thresholds)}
            return Outcome.FAIL in outcomes or outcomes == {Outcome.PASS}

        return measure_until_enough(
            self.classifier,
            subject.images,
            criterion,
            plan,
            keys=subject.keys,
            enough=is_decided,
            processes=self.context.processes,
        )

    def _cache(self, plan: RobustnessPlan) -> DiskCache | None:
        directory = self.context.cache_directory
        if directory is None:
            return None
        waived = [f.name for f in self.findings if f.waived and f.severity == "error"]
        if waived:
            self._notify(f"cache not used: {waived[0]} is waived")
            return None
        gate = self.gate
        return open_cache(
            directory,
            self.classifier,
            plan,
            rule=(gate.criterion, gate.top_k or 1),
            notify=self._notify,
        )

    def _notify(self, message: str) -> None:
        self.context.notify(f"{self.name}: {message}")

    def _plans_seen(self) -> tuple[AttackPlan, ...]:
        """The attacks, by what the preflight saw: a suite averages over draws of random models."""
        return gate_plans(
            self.gate,
            gradient_available=self.classifier.gradient_available,
            random_output=any(f.name == "nondeterministic-output" for f in self.findings),
        )

    def _subject(self, samples: Samples) -> MeasuredImages:
        target = self.gate.target
        return self.chosen(
            samples,
            count=self.gate.images,
            without_class=target if isinstance(target, int) else None,
            random_order=self.gate.sequential,
        )

    def _thresholds(self, subject: MeasuredImages) -> Thresholds:
        gate = self.gate
        return Thresholds(
            robust_accuracy=gate.min_robust_accuracy,
            clean_accuracy=gate.min_clean_accuracy,
            worst_class_robust_accuracy=gate.min_worst_class_robust_accuracy,
            confidence=gate.confidence,
            population=gate.population,
            dataset_size=subject.dataset_size,
            class_sizes=subject.class_sizes,
            horizon=len(subject.indices) if gate.sequential else None,
        )

    def _verdict(
        self, measurement: RobustnessMeasurement, planned: MeasuredImages, plan: RobustnessPlan
    ) -> Verdict:
        gate, thresholds, threat = self.gate, self._thresholds(planned), plan.threat
        subject = planned.first(len(measurement.labels))
        evidence = evidence_of(gate, measurement, subject, threat, self.classifier)
        evidence = add_sources(evidence, plan.sources)
        if gate.sequential:
            evidence["planned_images"] = len(planned.indices)
        conditions = judge_robustness(measurement, thresholds)
        outcome, reason = settled(
            conditions,
            failure=_failure(measurement),
            undecided=int(measurement.undecided.sum()),
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
            evidence=evidence,
        )
        return save_examples(
            verdict,
            measurement.examples,
            subject,
            threat=threat,
            gate=gate,
            context=self.context,
            verified=measurement.verified,
            rerun=rerun_of(gate, measurement, self.classifier),
        )


def criterion_of(
    gate: RobustnessGate, classifier: Classifier, subject: MeasuredImages
) -> Criterion:
    """Return the rule by which a gate counts images as broken.

    Args:
        gate: Its specification.
        classifier: Inside its guard.
        subject: The images that are measured.

    Cost: one forward pass per image where the least likely class is the target.
    """
    targets = None
    if isinstance(gate.target, int):
        targets = torch.full_like(subject.labels, gate.target)
    elif gate.target == "least-likely":
        logits = classifier.logits_in_batches(subject.images)
        logits[torch.arange(len(logits)), subject.labels] = torch.inf
        targets = logits.argmin(dim=1)
    return Criterion(
        kind=gate.criterion, labels=subject.labels, targets=targets, top_k=gate.top_k or 1
    )


def _failure(measurement: RobustnessMeasurement) -> str | None:
    """Why images could not be measured that nothing broke; None if all could."""
    if not bool(measurement.failed.any()):
        return None
    # An image may have failed for an attack and been broken by another: that one tells nothing.
    first = int(measurement.failed.nonzero()[0])
    record = next(record for record in measurement.records if first in record.failures)
    why = record.failures[first]
    count = int(measurement.failed.sum())
    return (
        f"{record.plan.entry.title} could not be carried out on {count} images that nothing "
        f"else broke ({why})"
    )
