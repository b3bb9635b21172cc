"""Carrying out an export-parity gate: provenance, preflight, sample, measure, judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fgmf.attacks.plans import plan_attacks
from fgmf.canonical import tensor_digest
from fgmf.classifier.onnx_backend import file_digest
from fgmf.errors import InvalidInput, StaleEvidence
from fgmf.export import artefact_of, verify_export
from fgmf.export.parity import ParityPlan, measure_parity
from fgmf.gates.checking import GateCheck, deadline_after, settled
from fgmf.gates.examples import library_versions
from fgmf.statistics import compare_to_limit, judge_open_share, judge_share
from fgmf.verdict import Condition, Interval, Outcome, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from fgmf.classifier import Classifier
    from fgmf.export import ExportReport
    from fgmf.export.parity import ParityMeasurement
    from fgmf.gates.export_parity import ExportParityGate
    from fgmf.gates.specification import RunContext
    from fgmf.gates.subject import MeasuredImages
    from fgmf.types import Images, Json, Labels


def check_export_parity(
    gate: ExportParityGate,
    classifier: Classifier,
    images: Images,
    labels: Labels,
    context: RunContext,
) -> Verdict:
    """Carry out an export-parity gate; see :meth:`fgmf.gates.ExportParityGate.check`."""
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
    gate: ExportParityGate

    def run(self, images: Images, labels: Labels) -> Verdict:
        gate, path = self.gate, self.context.directory / self.gate.artefact
        if not path.is_file():
            raise InvalidInput(f"expected an exported file at {gate.artefact}, got none")
        report = verify_export(path)
        self._refuse_others(report)
        threat, gradient = (
            gate.threat_model(self.classifier.bounds),
            self.classifier.gradient_available,
        )
        samples = self.inspected(images, labels, needs_gradient=gradient, threat=threat)
        subject = self.chosen(samples, count=gate.images)
        artefact = artefact_of(path, self.classifier, baked=self._is_baked(report))
        named = [("pgd", {"steps": gate.steps}, None)] if gradient else []
        plan = ParityPlan(
            threat=threat,
            crafting=plan_attacks(named, restarts=1)[0] if named else None,
            black_box=plan_attacks(
                [
                    ("random-search", {"queries": min(100, gate.queries)}, None),
                    ("square", {"queries": gate.queries}, None),
                ],
                restarts=1,
            ),
            seed=self.seed,
            deadline=deadline_after(gate.max_seconds),
            on_progress=self.report_progress,
        )
        measurement = measure_parity(
            self.classifier, artefact, subject.images, subject.labels, plan, keys=subject.keys
        )
        self.elsewhere = artefact.cost_meter.reading()
        return self._verdict(measurement, subject, report, path)

    def _refuse_others(self, report: ExportReport) -> None:
        """A file that says of itself that it is no export of this model has no parity to measure.

        Raises:
            StaleEvidence: It was exported from another model, or changed since.
        """
        if report.outcome is Outcome.FAIL:
            message = "expected the file as it was exported"
            raise StaleEvidence(f"{message}, got one that its provenance denies: {report.reason}")
        own = self.classifier.state_digest()
        if report.provenance is not None and own not in report.provenance.models:
            raise StaleEvidence(
                f"expected an export of this model ({own:.23}…), got the export of another model "
                f"({report.provenance.source:.23}…); export it again"
            )

    def _is_baked(self, report: ExportReport) -> bool:
        said = None if report.provenance is None else report.provenance.normalization
        wanted = self.gate.normalization
        if said is not None and wanted != "auto" and said not in {"none", wanted}:
            message = f"expected normalization {said!r}, as the file's provenance says"
            raise InvalidInput(f"{message}, got {wanted!r} in the gate")
        if said is not None:
            return said != "outside"
        if wanted == "auto" and self.classifier.normalization is not None:
            raise InvalidInput(
                "expected normalization = 'baked' or 'outside' for a file without provenance and "
                "a model with a normalisation, got 'auto'"
            )
        return wanted != "outside"

    def _verdict(
        self,
        measurement: ParityMeasurement,
        subject: MeasuredImages,
        report: ExportReport,
        path: Path,
    ) -> Verdict:
        gate = self.gate
        conditions = self._conditions(measurement, subject.dataset_size)
        failed = int((~measurement.crafted | measurement.black_box.failed).sum())
        outcome, reason = settled(
            conditions,
            failure=f"an attack could not be carried out on {failed} images" if failed else None,
            undecided=int((measurement.black_box.undecided & ~measurement.broken).sum()),
        )
        return Verdict(
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
            evidence={
                **_evidence(measurement, subject),
                "threat": gate.threat_model(self.classifier.bounds).describe(),
                "artefact": gate.artefact,
                "artefact_digest": file_digest(path),
                "provenance": "none" if report.provenance is None else report.provenance.digest,
                "population": gate.population,
                "data_digest": tensor_digest(subject.images),
                "model_digest": self.classifier.state_digest(),
                "library_versions": library_versions(),
            },
        )

    def _conditions(
        self, measurement: ParityMeasurement, dataset_size: int
    ) -> tuple[Condition, ...]:
        gate = self.gate
        size = dataset_size if gate.population == "dataset" else None
        unsure = (measurement.black_box.undecided | measurement.black_box.failed) | (
            ~measurement.crafted
        )
        robust = ~measurement.broken
        count = len(measurement.labels)
        shares = {
            "agreement": (measurement.agree, gate.min_agreement),
            "attacked_agreement": (measurement.agree_attacked, gate.min_attacked_agreement),
        }
        return (
            judge_open_share(
                "robust_accuracy",
                int(robust.sum()),
                int((robust & ~unsure).sum()),
                count,
                threshold=gate.min_robust_accuracy,
                confidence=gate.confidence,
                population_size=size,
            ),
            *(
                judge_share(
                    quantity,
                    int(flags.sum()),
                    count,
                    threshold=threshold,
                    confidence=gate.confidence,
                    population_size=size,
                )
                for quantity, (flags, threshold) in shares.items()
            ),
            self._gap_condition(measurement.gap),
        )

    def _gap_condition(self, gap: float) -> Condition:
        """The largest gap of the images that were measured; of others nothing is said."""
        exact = Interval(
            lower=gap, upper=gap, confidence=self.gate.confidence, method="largest measured"
        )
        limit = self.gate.max_logit_gap
        return Condition(
            quantity="logit_gap",
            measured=gap,
            interval=exact,
            threshold=limit,
            outcome=compare_to_limit(exact, limit, direction="at-most"),
            direction="at-most",
        )


def _evidence(measurement: ParityMeasurement, subject: MeasuredImages) -> dict[str, Json]:
    def named(flags: torch.Tensor) -> list[Json]:
        return [subject.indices[at] for at in flags.nonzero().flatten().tolist()]

    attacks: list[Json] = [
        {
            "name": record.plan.name,
            "title": record.plan.entry.title,
            "attacked": record.attacked,
            "broken": record.broken,
            "parameters": dict(record.plan.parameters),
            "restarts": record.plan.restarts,
        }
        for record in measurement.black_box.records
    ]
    return {
        "attacks": attacks,
        "clean_accuracy": _share(measurement.logits.argmax(dim=1) == measurement.labels),
        "source_robust_accuracy": _share(~measurement.source_broken),
        "robust_accuracy": _share(~measurement.broken),
        "clean_gap": measurement.clean_gap,
        "attacked_gap": measurement.attacked_gap,
        "near_margin": int(measurement.near_margin.sum()),
        "disagreeing_images": named(~measurement.agree),
        "disagreeing_attacked_images": named(~measurement.agree_attacked),
        "broken_only_in_the_file": named(measurement.broken & ~measurement.source_broken),
        "dataset_size": subject.dataset_size,
        "image_count": len(subject.indices),
    }


def _share(flags: torch.Tensor) -> float:
    return int(flags.sum()) / flags.numel()
