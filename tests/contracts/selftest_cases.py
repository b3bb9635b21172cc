"""What the self-test does with a classifier: cases for test_model_restored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from tiny_models import keys_of, make_images, rule

from fgmf.attacks.plans import plan_attacks
from fgmf.gates import AttackSelftestGate, RobustnessGate, RunContext
from fgmf.gates.attack_selftest_check import check_attack_selftest
from fgmf.gates.attack_selftest_evidence import selftest_evidence
from fgmf.gates.robustness_check import criterion_of
from fgmf.gates.subject import MeasuredImages
from fgmf.robustness import RobustnessPlan
from fgmf.selftest import (
    BinarizationMeasurement,
    BinarizationQuestion,
    ScalingMeasurement,
    certified_images,
    measure_binarization,
    measure_scaling,
)
from fgmf.selftest.features import FeatureReader, read_features
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.classifier import Classifier

IMAGES = make_images(6, margin=0.05)
LABELS = torch.arange(len(IMAGES)) % 3
THREAT = ThreatModel(norm="linf", epsilon=0.2)
LEAST_LIKELY = RobustnessGate(
    norm="linf",
    epsilon=0.2,
    min_robust_accuracy=0.5,
    criterion="targeted",
    target="least-likely",
)
SUBJECT = MeasuredImages(
    images=IMAGES,
    labels=LABELS,
    indices=list(range(6)),
    keys=list(keys_of(IMAGES)),
    class_sizes={},
    dataset_size=6,
)
SELFTEST = AttackSelftestGate(
    norm="linf",
    epsilon=0.2,
    attacks=("pgd",),
    inner_points=20,
    scales=(100,),
    waive=("clean-accuracy-at-chance", "normalisation-missing", "too-few-images"),
)
PLAN = RobustnessPlan(
    threat=THREAT, attacks=plan_attacks([("pgd", {"steps": 3}, None)], restarts=1), seed=0
)


def _features(classifier: Classifier) -> None:
    with classifier.guard(), read_features(classifier, IMAGES, layer="head") as reader:
        FeatureReader(classifier, reader.source)
        reader.features(IMAGES[:4])
        reader.features(IMAGES[4:])


def _certified(classifier: Classifier) -> None:
    with classifier.guard():
        classifier.predict(IMAGES)
        certified_images(classifier, IMAGES, rule(LABELS), THREAT)


def _least_likely(classifier: Classifier) -> None:
    with classifier.guard():
        criterion_of(LEAST_LIKELY, classifier, SUBJECT)


def _scaling(classifier: Classifier) -> ScalingMeasurement:
    criterion = rule(LABELS)
    return measure_scaling(
        classifier, IMAGES, criterion, PLAN, keys=keys_of(IMAGES), scales=(100.0,)
    )


def _binarization(classifier: Classifier) -> BinarizationMeasurement:
    question = BinarizationQuestion(plan=PLAN, inner_count=20)
    return measure_binarization(classifier, IMAGES, question, keys=keys_of(IMAGES))


def _selftest_evidence(classifier: Classifier) -> None:
    test, scaling = _binarization(classifier), _scaling(classifier)
    subject = SUBJECT
    selftest_evidence(PLAN, test, scaling, None, subject=subject, classifier=classifier)


SELFTEST_CASES: dict[str, Callable[[Classifier], object]] = {
    "fgmf.gates.attack_selftest.AttackSelftestGate.check": lambda c: SELFTEST.check(
        c, IMAGES, LABELS
    ),
    "fgmf.gates.attack_selftest_check.check_attack_selftest": lambda c: check_attack_selftest(
        SELFTEST, c, IMAGES, LABELS, RunContext()
    ),
    "fgmf.gates.attack_selftest_evidence.selftest_evidence": _selftest_evidence,
    "fgmf.gates.robustness_check.criterion_of": _least_likely,
    "fgmf.selftest.binarization.measure_binarization": _binarization,
    "fgmf.selftest.features.FeatureReader.__init__": _features,
    "fgmf.selftest.features.read_features": _features,
    "fgmf.selftest.interval_bounds.certified_images": _certified,
    "fgmf.selftest.scaling.measure_scaling": _scaling,
}
