"""Carrying out a gate on the stability of explanations: preflight, sample, measure, judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fgmf.attribution.building import explainer
from fgmf.attribution.catalogue import find_explainer
from fgmf.faithfulness.intervals import score_interval
from fgmf.faithfulness.similarity import SIMILARITY_SCALE
from fgmf.faithfulness.stability import StabilityPlan, measure_stability
from fgmf.gates.checking import GateCheck, settled
from fgmf.gates.explanation_pictures import (
    captions_of,
    change_picture,
    sample_pictures,
    stage_pictures,
)
from fgmf.gates.faithfulness_evidence import (
    explainer_evidence,
    explainer_title,
    subject_evidence,
)
from fgmf.statistics import compare_to_limit
from fgmf.threat import ThreatModel, parse_epsilon
from fgmf.verdict import Condition, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from fgmf.classifier import Classifier
    from fgmf.faithfulness.stability import StabilityMeasurement
    from fgmf.gates.explanation_stability import ExplanationStabilityGate
    from fgmf.gates.specification import RunContext
    from fgmf.gates.subject import MeasuredImages
    from fgmf.types import Images, Json, Labels


def check_stability(
    gate: ExplanationStabilityGate,
    classifier: Classifier,
    images: Images,
    labels: Labels,
    context: RunContext,
) -> Verdict:
    """Carry out the gate; see :meth:`fgmf.gates.ExplanationStabilityGate.check`."""
    thresholds = (gate.min_noise_similarity, gate.min_adversarial_similarity)
    check = _Check(
        gate=gate,
        kind=gate.kind,
        threshold=next(value for value in thresholds if value is not None),
        classifier=classifier,
        context=context,
    )
    return check.carry_out(images, labels)


@dataclass(kw_only=True)
class _Check(GateCheck):
    gate: ExplanationStabilityGate

    def run(self, images: Images, labels: Labels) -> Verdict:
        gate, epsilon = self.gate, self._epsilon
        threat = None
        if epsilon is not None:
            threat = ThreatModel(norm="linf", epsilon=epsilon, bounds=self.classifier.bounds)
        samples = self.inspected(
            images,
            labels,
            needs_gradient=find_explainer(gate.explainer.name).needs_gradient
            or (epsilon is not None and self.classifier.gradient_available),
            threat=threat,
        )
        if self._corners_alone and not gate.random_corners_alone:
            return self.error(
                f"expected gradients for the walks within epsilon, got {self.classifier.name}, "
                "which has none; random corners of the ball alone find little. Judge the PyTorch "
                "model, leave epsilon out, or accept them with random_corners_alone = true"
            )
        subject = self.chosen(samples, count=gate.images)
        plan = StabilityPlan(
            similarity=gate.similarity,
            noise=gate.noise,
            copies=gate.copies,
            epsilon=epsilon,
            corners=gate.corners,
            steps=gate.steps,
            seed=self.seed,
            keep=gate.pictures if gate.save_failures else 0,
            on_progress=self.report_progress,
        )
        method = explainer(gate.explainer.name, gate.explainer.parameters)
        with self.guarded():
            measurement = measure_stability(
                method, self.classifier, subject.images, plan, keys=subject.keys
            )
        return self._verdict(measurement, subject)

    @property
    def _corners_alone(self) -> bool:
        return self.gate.epsilon is not None and not self.classifier.gradient_available

    @property
    def _epsilon(self) -> float | None:
        return None if self.gate.epsilon is None else parse_epsilon(self.gate.epsilon)

    def _verdict(self, measurement: StabilityMeasurement, subject: MeasuredImages) -> Verdict:
        conditions = tuple(self._conditions(measurement, subject))
        outcome, reason = settled(conditions, failure=None, undecided=0)
        return Verdict(
            gate=self.name,
            kind=self.gate.kind,
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
            evidence=self._evidence(measurement, subject),
        )

    def _conditions(
        self, measurement: StabilityMeasurement, subject: MeasuredImages
    ) -> Iterator[Condition]:
        gate = self.gate
        if measurement.noise is not None and gate.min_noise_similarity is not None:
            yield self._condition(
                "noise_similarity", measurement.noise, gate.min_noise_similarity, subject
            )
        if measurement.adversarial is not None and gate.min_adversarial_similarity is not None:
            yield self._condition(
                "adversarial_similarity",
                measurement.adversarial,
                gate.min_adversarial_similarity,
                subject,
            )

    def _condition(
        self,
        quantity: str,
        values: NDArray[np.float64],
        threshold: float,
        subject: MeasuredImages,
    ) -> Condition:
        interval = score_interval(
            values,
            confidence=self.gate.confidence,
            scale=SIMILARITY_SCALE,
            population=subject.dataset_size if self.gate.population == "dataset" else None,
        )
        return Condition(
            quantity=quantity,
            measured=float(values.mean()),
            interval=interval,
            threshold=threshold,
            outcome=compare_to_limit(interval, threshold),
        )

    def _evidence(
        self, measurement: StabilityMeasurement, subject: MeasuredImages
    ) -> dict[str, Json]:
        gate = self.gate
        rows: list[Json] = []
        for name, values, size in (
            ("noise", measurement.noise, gate.noise),
            ("within epsilon", measurement.adversarial, self._epsilon),
        ):
            if values is not None:
                scores: list[Json] = [float(value) for value in values]
                rows.append(
                    {
                        "name": name,
                        "size": size,
                        "similarity": float(values.mean()),
                        "lowest": float(values.min()),
                        "scores": scores,
                    }
                )
        worst: dict[str, Json] = dict(measurement.worst)
        return {
            "threat": self._words(),
            "explainer": explainer_evidence(gate.explainer),
            "similarity": gate.similarity,
            "stability": rows,
            "changed_by_noise": measurement.changed_by_noise,
            "pulled_back": measurement.pulled_back,
            "worst_candidates": worst,
            "pictures": self._pictures(measurement, subject),
            **subject_evidence(subject, self.classifier, population=gate.population),
        }

    def _pictures(self, measurement: StabilityMeasurement, subject: MeasuredImages) -> list[Json]:
        kept, bounds = measurement.kept, self.classifier.bounds
        if kept is None:
            return []
        captions = captions_of(kept.explained, subject, count=self.gate.pictures)
        if kept.candidates is None or kept.maps is None:
            return sample_pictures(kept.explained, subject.images, captions, bounds)
        count = len(captions)
        picture = change_picture(
            "Explanations before and after, with the same prediction",
            (subject.images[:count], kept.candidates[:count]),
            (kept.explained.maps[:count], kept.maps[:count]),
            captions,
            bounds,
            changed="least similar neighbour",
        )
        return [picture, *stage_pictures(kept.explained, subject.images, captions, bounds)]

    def _words(self) -> str:
        gate = self.gate
        sizes = []
        if gate.noise is not None:
            sizes.append(f"noise {gate.noise:g}")
        if gate.epsilon is not None:
            alone = " (random corners alone)" if self._corners_alone else ""
            sizes.append(f"Linf eps {gate.epsilon}{alone}")
        return f"{gate.similarity} of {explainer_title(gate.explainer)}; {', '.join(sizes)}"
