"""Carrying out an attack-selftest gate: preflight, sample, test, control, judge."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from fgmf.errors import AttackFailed
from fgmf.gates.attack_selftest_evidence import selftest_evidence
from fgmf.gates.checking import GateCheck, deadline_after, settled
from fgmf.gates.robustness_attacks import gate_plans
from fgmf.gates.robustness_check import criterion_of
from fgmf.robustness import RobustnessPlan
from fgmf.sampling import stratified_sample
from fgmf.selftest import (
    BinarizationMeasurement,
    BinarizationQuestion,
    ScalingMeasurement,
    certified_images,
    measure_binarization,
    measure_scaling,
)
from fgmf.statistics import judge_open_share
from fgmf.verdict import Condition, Interval, Outcome, Verdict

if TYPE_CHECKING:
    from fgmf.classifier import Classifier
    from fgmf.datasets import Samples
    from fgmf.gates.attack_selftest import AttackSelftestGate
    from fgmf.gates.robustness import RobustnessGate
    from fgmf.gates.specification import RunContext
    from fgmf.gates.subject import MeasuredImages
    from fgmf.types import ImageFlags, Images, Labels


def check_attack_selftest(
    gate: AttackSelftestGate,
    classifier: Classifier,
    images: Images,
    labels: Labels,
    context: RunContext,
) -> Verdict:
    """Carry out the gate; see :meth:`fgmf.gates.AttackSelftestGate.check`."""
    check = _Check(
        gate=gate,
        kind=gate.kind,
        threshold=gate.min_success,
        classifier=classifier,
        context=context,
    )
    return check.carry_out(images, labels)


@dataclass(kw_only=True)
class _Check(GateCheck):
    gate: AttackSelftestGate

    def run(self, images: Images, labels: Labels) -> Verdict:
        gate, deadline = self.gate, deadline_after(self.gate.max_seconds)
        attacked = gate.attacked_gate()
        plan = RobustnessPlan(
            threat=gate.threat_model(self.classifier.bounds),
            attacks=gate_plans(attacked, gradient_available=self.classifier.gradient_available),
            seed=self.seed,
            deadline=deadline,
            example_limit=0,
            expect_steady="nondeterministic-output" not in gate.waive,
        )
        samples = self.inspected(
            images,
            labels,
            needs_gradient=any(entry.entry.needs_gradient for entry in plan.attacks),
            threat=plan.threat,
        )
        # A suite averages over draws of random models, as the gate's own does.
        random_output = any(f.name == "nondeterministic-output" for f in self.findings)
        plans = gate_plans(
            attacked,
            gradient_available=self.classifier.gradient_available,
            random_output=random_output,
        )
        plan = replace(plan, attacks=plans)
        subject = self._subject(samples)
        with self.guarded():
            scaling, certified = self._control(attacked, subject, plan)
            question = BinarizationQuestion(
                plan=plan,
                targeted=gate.criterion == "targeted",
                layer=gate.features,
                inner_count=gate.inner_points,
            )
            test = measure_binarization(
                self.classifier,
                subject.images,
                question,
                keys=subject.keys,
                on_progress=self._report,
            )
        return self._verdict(test, scaling, certified, subject, plan)

    def _report(self, done: int, total: int) -> None:
        self.report_progress(done, total, "self-test")

    def _subject(self, samples: Samples) -> MeasuredImages:
        target = self.gate.target
        return self.chosen(
            samples,
            count=self.gate.images,
            without_class=target if isinstance(target, int) else None,
        )

    def _control(
        self, attacked: RobustnessGate, subject: MeasuredImages, plan: RobustnessPlan
    ) -> tuple[ScalingMeasurement, ImageFlags | None]:
        """Measure at several scales; hold what is found against certificates.

        Raises:
            AttackFailed: An image is broken that is certified: one of the two is wrong.
        """
        few = _part(subject, self.gate.control_images, self.seed)
        criterion = criterion_of(attacked, self.classifier, few)
        certified = certified_images(self.classifier, few.images, criterion, plan.threat)
        scaling = measure_scaling(
            self.classifier,
            few.images,
            criterion,
            plan,
            keys=few.keys,
            scales=self.gate.scales,
        )
        broken = scaling.plain.broken
        if certified is not None and bool((certified & broken).any()):
            count = int((certified & broken).sum())
            message = (
                f"expected no attack to break an image that interval bounds certify, but "
                f"{count} of {int(certified.sum())} are broken: attacks, verification or bounds "
                "are wrong; please report it"
            )
            raise AttackFailed(message)
        return scaling, certified

    def _verdict(
        self,
        test: BinarizationMeasurement,
        scaling: ScalingMeasurement,
        certified: ImageFlags | None,
        subject: MeasuredImages,
        plan: RobustnessPlan,
    ) -> Verdict:
        gate = self.gate
        conditions = (*self._test_conditions(test), *self._scaling_conditions(scaling))
        unsure = [test.undecided, scaling.plain.undecided]
        unsure += [entry.undecided for entry in scaling.scaled.values()]
        outcome, reason = settled(
            conditions, failure=_failure(test), undecided=sum(int(part.sum()) for part in unsure)
        )
        valid, count = int(test.valid.sum()), len(subject.indices)
        if outcome in {Outcome.PASS, Outcome.INCONCLUSIVE} and not self._enough(test):
            outcome = Outcome.INCONCLUSIVE
            reason = (
                f"a separating read-out was found for {valid} of {count} images only; name other "
                "features, or take more images"
            )
        return Verdict(
            gate=self.name,
            kind=gate.kind,
            outcome=outcome,
            reason=reason,
            measured=conditions[0].measured,
            interval=conditions[0].interval,
            threshold=conditions[0].threshold,
            image_count=count,
            seed=self.seed,
            reproduce=self.context.reproduce,
            conditions=conditions,
            findings=self.findings,
            evidence=selftest_evidence(
                plan, test, scaling, certified, subject=subject, classifier=self.classifier
            ),
        )

    def _enough(self, test: BinarizationMeasurement) -> bool:
        valid = int(test.valid.sum())
        return valid > 0 and valid >= self.gate.min_valid * len(test.valid)

    def _test_conditions(self, test: BinarizationMeasurement) -> tuple[Condition, Condition]:
        unsure = test.undecided | test.failed
        beyond = test.found & ~test.found_by_random
        return (
            self._judged("test_success", test.found, unsure, test, self.gate.min_success),
            self._judged("beyond_random", beyond, unsure, test, self.gate.min_beyond_random),
        )

    def _judged(
        self,
        quantity: str,
        good: ImageFlags,
        unsure: ImageFlags,
        test: BinarizationMeasurement,
        threshold: float,
    ) -> Condition:
        """Judge a share of the valid images; too few are evidence of nothing."""
        if not self._enough(test):
            nothing = Interval(
                lower=0.0, upper=1.0, confidence=self.gate.confidence, method="too few valid images"
            )
            return Condition(
                quantity=quantity,
                measured=None,
                interval=nothing,
                threshold=threshold,
                outcome=Outcome.INCONCLUSIVE,
            )
        fewest = int((good & test.valid).sum())
        return judge_open_share(
            quantity,
            fewest + int((unsure & ~good & test.valid).sum()),
            fewest,
            int(test.valid.sum()),
            threshold=threshold,
            confidence=self.gate.confidence,
        )

    def _scaling_conditions(self, scaling: ScalingMeasurement) -> list[Condition]:
        """For each scale: the share of images that no scale makes look robust."""
        conditions = []
        for scale, scaled in scaling.scaled.items():
            kept = scaling.kept(scale)
            unsure = scaling.plain.undecided | scaled.undecided
            unsure |= scaling.plain.failed | scaled.failed
            fewest = int((kept & ~unsure).sum())
            condition = judge_open_share(
                "kept_under_scaling",
                fewest + int(unsure.sum()),
                fewest,
                len(kept),
                threshold=1 - self.gate.max_rise,
                confidence=self.gate.confidence,
            )
            conditions.append(replace(condition, subject=f"logits x {scale:g}"))
        return conditions


def _part(subject: MeasuredImages, count: int, seed: int) -> MeasuredImages:
    """A stratified part of the sample."""
    chosen = stratified_sample(subject.labels.tolist(), count=count, seed=seed)
    rows = torch.tensor(chosen)
    return replace(
        subject,
        images=subject.images[rows],
        labels=subject.labels[rows],
        indices=[subject.indices[at] for at in chosen],
        keys=[subject.keys[at] for at in chosen],
    )


def _failure(test: BinarizationMeasurement) -> str | None:
    """Why an attack could not be carried out where nothing was found; None if all could."""
    count = int(test.failed.sum())
    if not count:
        return None
    why = test.reasons.most_common(1)[0][0] if test.reasons else "no reason given"
    return f"an attack could not be carried out on {count} images where nothing was found ({why})"
