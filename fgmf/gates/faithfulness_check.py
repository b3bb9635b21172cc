"""Carrying out a faithfulness gate: preflight, sample, measure, judge, keep the evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fgmf.attribution.building import explainer
from fgmf.attribution.catalogue import find_explainer
from fgmf.errors import MetricFailed
from fgmf.faithfulness.comparing import ComparisonPlan, compare_with_references
from fgmf.faithfulness.intervals import score_interval, smallest_mean_interval
from fgmf.faithfulness.scores import MetricPlan
from fgmf.gates.checking import GateCheck, deadline_after, settled
from fgmf.gates.faithfulness_evidence import evidence_of_faithfulness
from fgmf.statistics import compare_to_limit
from fgmf.verdict import Condition, Interval, Outcome, Verdict

if TYPE_CHECKING:
    from fgmf.attribution.interface import Explainer
    from fgmf.classifier import Classifier
    from fgmf.faithfulness.comparing import FaithfulnessMeasurement, MetricComparison
    from fgmf.gates.faithfulness import Demand, FaithfulnessGate
    from fgmf.gates.specification import RunContext
    from fgmf.gates.subject import MeasuredImages
    from fgmf.types import Images, Labels

_ROUNDING = 1e-12
"""Scores are float64 means: what differs by less of their size is the same."""


def check_faithfulness(
    gate: FaithfulnessGate,
    classifier: Classifier,
    images: Images,
    labels: Labels,
    context: RunContext,
) -> Verdict:
    """Carry out a faithfulness gate; see :meth:`fgmf.gates.FaithfulnessGate.check`."""
    check = FaithfulnessCheck(
        gate=gate,
        kind=gate.kind,
        threshold=gate.demands()[0].threshold,
        classifier=classifier,
        context=context,
    )
    return check.carry_out(images, labels)


@dataclass(kw_only=True)
class FaithfulnessCheck(GateCheck):
    """A gate on the faithfulness of one explainer; what is explained can be said by subclasses."""

    gate: FaithfulnessGate

    def run(self, images: Images, labels: Labels) -> Verdict:
        """Measure and judge."""
        gate, deadline = self.gate, deadline_after(self.gate.max_seconds)
        samples = self.inspected(
            images, labels, needs_gradient=find_explainer(gate.explainer.name).needs_gradient
        )
        subject = self.chosen(samples, count=gate.images)
        with self.guarded():
            method = explainer(gate.explainer.name, gate.explainer.parameters)
            targets = self.targets_of(subject)
            measurement = self.compared(method, self.classifier, subject, targets, deadline)
        return self._verdict(measurement, subject)

    def targets_of(self, subject: MeasuredImages) -> Labels:
        """The classes that are explained."""
        if self.gate.target == "prediction":
            return self.classifier.predict(subject.images)
        return subject.labels

    def compared(
        self,
        method: Explainer,
        classifier: Classifier,
        subject: MeasuredImages,
        targets: Labels,
        deadline: float | None,
    ) -> FaithfulnessMeasurement:
        """Score an explainer's maps of a classifier beside those of references."""
        gate = self.gate
        asked = dict.fromkeys((demand.metric, demand.replacement) for demand in gate.demands())
        plan = ComparisonPlan(
            metrics=tuple(
                MetricPlan(
                    metric=metric.name,
                    parameters=metric.parameters,
                    replacement=replacement or None,
                )
                for metric, replacement in asked
            ),
            references=gate.references if self._margins_asked else (),
            seed=self.seed,
            deadline=deadline,
            on_progress=self.report_progress,
        )
        return compare_with_references(
            method, classifier, subject.images, targets, plan, keys=subject.keys
        )

    @property
    def _margins_asked(self) -> bool:
        return any(demand.quantity == "margin" for demand in self.gate.demands())

    def _verdict(self, measurement: FaithfulnessMeasurement, subject: MeasuredImages) -> Verdict:
        gate = self.gate
        conditions = self.held(measurement, subject)
        unmeasured = any(one.scores is None for one in measurement.comparisons)
        outcome, reason = settled(
            conditions, failure=None, undecided=len(subject.indices) if unmeasured else 0
        )
        main = conditions[0]
        return Verdict(
            gate=self.name,
            kind=gate.kind,
            outcome=outcome,
            reason=reason,
            measured=main.measured,
            interval=main.interval,
            threshold=main.threshold,
            direction=main.direction,
            image_count=len(subject.indices),
            seed=self.seed,
            reproduce=self.context.reproduce,
            conditions=conditions,
            findings=self.findings,
            evidence=evidence_of_faithfulness(gate, measurement, subject, self.classifier),
        )

    def held(
        self, measurement: FaithfulnessMeasurement, subject: MeasuredImages
    ) -> tuple[Condition, ...]:
        """Hold a measurement against every threshold of the gate."""
        compared = {
            (one.plan.metric, one.plan.replacement or ""): one for one in measurement.comparisons
        }
        return tuple(
            self._condition(demand, compared[demand.metric.name, demand.replacement], subject)
            for demand in self.gate.demands()
        )

    def _condition(
        self, demand: Demand, comparison: MetricComparison, subject: MeasuredImages
    ) -> Condition:
        name = demand.metric.name.replace("-", "_")
        measured, interval, outcome = None, None, Outcome.INCONCLUSIVE
        if comparison.scores is not None:
            measured, interval = self._bounded(demand, comparison, subject)
            outcome = compare_to_limit(interval, demand.threshold, direction=demand.direction)
        return Condition(
            quantity=f"{name}_margin" if demand.quantity == "margin" else name,
            measured=measured,
            interval=interval,
            threshold=demand.threshold,
            outcome=outcome,
            subject=demand.replacement,
            direction=demand.direction,
        )

    def _bounded(
        self, demand: Demand, comparison: MetricComparison, subject: MeasuredImages
    ) -> tuple[float, Interval]:
        gate = self.gate
        population = subject.dataset_size if gate.population == "dataset" else None
        if comparison.scores is None:
            raise TypeError("a comparison without scores has no interval")
        if demand.quantity == "margin":
            named = comparison.margins()
            least = _ROUNDING * float(abs(comparison.scores.values).max())
            tied = [name for name, margin in named.items() if float(abs(margin).max()) <= least]
            if tied and demand.threshold <= 0:
                message = f"expected {comparison.plan.label} to tell the maps from those of the "
                message += f"reference {tied[0]}, got the same scores for each image"
                raise MetricFailed(f"{message}; use another metric, or leave out that reference")
            margins = list(named.values())
            interval = smallest_mean_interval(
                margins,
                confidence=gate.confidence,
                scale=comparison.margin_scale,
                population=population,
            )
            return min(float(margin.mean()) for margin in margins), interval
        values = comparison.scores.values
        interval = score_interval(
            values,
            confidence=gate.confidence,
            scale=comparison.scores.scale,
            population=population,
        )
        return float(values.mean()), interval
