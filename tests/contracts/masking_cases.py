"""What an examination for gradient masking does with a classifier: cases of the promise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from tiny_models import keys_of, make_images

from fgmf.canonical import tensor_digest
from fgmf.datasets import Samples
from fgmf.gates import GradientMaskingGate, RunContext
from fgmf.gates.gradient_masking_check import check_gradient_masking, curves_of_gate
from fgmf.gates.gradient_masking_evidence import evidence_of_masking
from fgmf.gates.subject import MeasuredImages
from fgmf.gradient_masking import MaskingPlan, judge_masking, measure_gradient_masking
from fgmf.gradient_masking.answers import find_traits
from fgmf.gradient_masking.curves import measure_curves
from fgmf.gradient_masking.edges import probe_edges
from fgmf.gradient_masking.examined import Examined, Traits, copied
from fgmf.gradient_masking.probing import probe_budgets, probe_gradients
from fgmf.gradient_masking.repairing import Repair, RepairedLogits, repaired_sources
from fgmf.gradient_masking.slopes import margin_slopes, measure_slopes
from fgmf.gradient_masking.sources import double_logits
from fgmf.gradient_masking.values import NaiveOutcome
from fgmf.gradient_masking.walking import walk
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.classifier import Classifier
    from fgmf.gradient_masking import MaskingMeasurement

IMAGES = make_images(6, margin=0.05)
LABELS = torch.arange(6) % 3
THREAT = ThreatModel(norm="linf", epsilon=0.2)
GATE = GradientMaskingGate(
    norm="linf",
    epsilon=0.2,
    inconclusive="pass",
    waive=("clean-accuracy-at-chance", "normalisation-missing", "too-few-images"),
)


def _measured(classifier: Classifier) -> MaskingMeasurement:
    plan = MaskingPlan(threat=THREAT)
    return measure_gradient_masking(classifier, IMAGES, LABELS, plan, keys=keys_of(IMAGES))


def _evidence(classifier: Classifier) -> None:
    measurement = _measured(classifier)
    subject = MeasuredImages(
        images=IMAGES,
        labels=LABELS,
        indices=list(range(6)),
        keys=[tensor_digest(image) for image in IMAGES],
        class_sizes={},
        dataset_size=6,
    )
    judgement = judge_masking(measurement, min_gap=0.05, confidence=0.95)
    evidence_of_masking(GATE, measurement, judgement, subject, classifier)


def _traits(classifier: Classifier) -> None:
    with classifier.guard(tolerate_changes=True):
        find_traits(classifier, IMAGES, seed=0)


def _copies(classifier: Classifier) -> None:
    with classifier.guard():
        classifier.logits_in_batches(IMAGES)
        copy = copied(classifier, double=True, keep_hooks=False)
        if copy is not None:
            double_logits(copy)(IMAGES)
        classifier.logits_in_batches(IMAGES)


def _examined(classifier: Classifier) -> Examined:
    return Examined(
        classifier=classifier,
        images=IMAGES,
        labels=LABELS,
        keys=tuple(keys_of(IMAGES)),
        threat=THREAT,
        seed=0,
        traits=Traits(),
        snapshot=None,
    )


def _slopes(classifier: Classifier) -> None:
    with classifier.guard():
        measure_slopes(_examined(classifier), classifier)


def _gradients(classifier: Classifier) -> None:
    with classifier.guard():
        list(probe_gradients(_examined(classifier), classifier))


def _edges(classifier: Classifier) -> None:
    with classifier.guard():
        list(probe_edges(_examined(classifier), classifier, IMAGES))


def _margins(classifier: Classifier) -> None:
    with classifier.guard():
        margin_slopes(classifier, IMAGES, (LABELS, (LABELS + 1) % 3))


def _budgets(classifier: Classifier) -> None:
    outcome = NaiveOutcome(
        name="PGD-40",
        rows=torch.arange(6),
        right=torch.ones(6, dtype=torch.float64),
        examples=IMAGES,
    )
    with classifier.guard():
        list(probe_budgets(_examined(classifier), classifier, torch.arange(6), outcome))


def _curves(classifier: Classifier) -> None:
    plan = MaskingPlan(threat=THREAT)
    measure_curves(classifier, IMAGES, LABELS, plan, keys=keys_of(IMAGES))


def _walked(classifier: Classifier) -> None:
    with classifier.guard():
        found = walk(classifier, IMAGES, seed=0)
        if found is None:
            return
        for source in repaired_sources(classifier, found, lambda logits: logits):
            source.logits(IMAGES)
        RepairedLogits(classifier, Repair(replaced=("features.0",), joined=("features.0",)))(IMAGES)


MASKING_CASES: dict[str, Callable[[Classifier], object]] = {
    "fgmf.gates.gradient_masking.GradientMaskingGate.check": lambda c: GATE.check(
        c, IMAGES, LABELS
    ),
    "fgmf.gates.gradient_masking_check.check_gradient_masking": lambda c: check_gradient_masking(
        GATE, c, IMAGES, LABELS, RunContext()
    ),
    "fgmf.gates.gradient_masking_evidence.evidence_of_masking": _evidence,
    "fgmf.gradient_masking.examination.measure_gradient_masking": _measured,
    "fgmf.gradient_masking.answers.find_traits": _traits,
    "fgmf.gradient_masking.examined.copied": _copies,
    "fgmf.gradient_masking.sources.double_logits": _copies,
    "fgmf.gradient_masking.probing.probe_gradients": _gradients,
    "fgmf.gradient_masking.probing.probe_budgets": _budgets,
    "fgmf.gradient_masking.edges.probe_edges": _edges,
    "fgmf.gradient_masking.slopes.margin_slopes": _margins,
    "fgmf.gradient_masking.slopes.measure_slopes": _slopes,
    "fgmf.gradient_masking.curves.measure_curves": _curves,
    "fgmf.gates.gradient_masking_check.curves_of_gate": lambda c: curves_of_gate(
        GATE, c, Samples(images=IMAGES, labels=LABELS), run_seed=0
    ),
    "fgmf.gradient_masking.repairing.RepairedLogits.__init__": _walked,
    "fgmf.gradient_masking.repairing.repaired_sources": _walked,
    "fgmf.gradient_masking.walking.walk": _walked,
}
NOT_MASKING = {
    "fgmf.gradient_masking.examined.Examined.__init__",  # values only
    "fgmf.gradient_masking.slopes.Slopes.__init__",  # values only
    "fgmf.gradient_masking.league.Ground.__init__",  # values only
}
