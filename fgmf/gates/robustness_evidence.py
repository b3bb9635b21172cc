"""What a robustness verdict rests on: evidence for its report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fgmf.canonical import tensor_digest
from fgmf.failures.circumstances import circumstances_of
from fgmf.failures.repeating import record_plan
from fgmf.gates.examples import Rerun, library_versions
from fgmf.gates.identity import (
    BROKEN,
    FAILED,
    ROBUST,
    UNDECIDED,
    WRONG,
    configuration_of,
    image_evidence,
)
from fgmf.gates.robustness_attacks import suite_of
from fgmf.statistics import binomial_interval, hypergeometric_interval

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from fgmf.classifier import Classifier
    from fgmf.gates.robustness import RobustnessGate
    from fgmf.gates.subject import MeasuredImages
    from fgmf.robustness import RobustnessMeasurement
    from fgmf.robustness.plan import AttackRecord
    from fgmf.threat import ThreatModel
    from fgmf.types import Json

_CURVE_STEPS = 20


def evidence_of(
    gate: RobustnessGate,
    measurement: RobustnessMeasurement,
    measured: MeasuredImages,
    threat: ThreatModel,
    classifier: Classifier,
) -> dict[str, Json]:
    """Return the measured values for people and programs; they depend on the seed alone.

    Images are named by their position in the user's data set.
    """

    def named(flags: torch.Tensor) -> list[Json]:
        return [measured.indices[at] for at in flags.nonzero().flatten().tolist()]

    count = len(measurement.labels)

    def share_interval(good: int) -> dict[str, Json]:
        """Of a share that nothing is asked of: where it lies, counted once."""
        if gate.population == "dataset":
            found = hypergeometric_interval(
                good, count, population=measured.dataset_size, confidence=gate.confidence
            )
        else:
            found = binomial_interval(good, count, confidence=gate.confidence)
        return {"lower": found.lower, "upper": found.upper, "confidence": found.confidence}

    unverified = {at for record in measurement.records for at in record.unverified}
    suite = suite_of(gate, gradient_available=classifier.gradient_available)
    still = [at for at in sorted(unverified) if not bool(measurement.broken[at])]
    return {
        "threat": threat.describe(),
        "norm": threat.norm,
        "epsilon": threat.epsilon,
        "bounds": list(threat.bounds),
        "criterion": gate.criterion,
        "target": gate.target,
        "top_k": gate.top_k,
        "suite": None if suite is None else suite.name,
        "attacks": _attack_rows(measurement, measured, share_interval, epsilon=threat.epsilon),
        "clean_accuracy": _share(measurement.clean_correct),
        "clean_interval": share_interval(int(measurement.clean_correct.sum())),
        "robust_accuracy": _share(measurement.robust) if measurement.certain else None,
        "per_class": _per_class(measurement),
        "population": gate.population,
        "dataset_size": measured.dataset_size,
        "image_count": len(measured.indices),
        "misclassified_images": named(~measurement.clean_correct),
        "broken_images": named(measurement.broken & measurement.clean_correct),
        "undecided_images": named(measurement.undecided),
        "failed_images": named(measurement.failed),
        "unverified_images": [measured.indices[at] for at in still],
        "verified": f"{measurement.verified}/{measurement.verified + len(still)}",
        "images": image_evidence(
            indices=measured.indices,
            keys=measured.keys,
            labels=measured.labels.tolist(),
            outcomes=image_outcomes(measurement),
        ),
        "configuration": _configuration(gate, measurement, threat),
        "data_digest": tensor_digest(measured.images),
        "model_digest": classifier.state_digest(),
        "library_versions": library_versions(),
    }


def image_outcomes(measurement: RobustnessMeasurement) -> str:
    """Return one letter per image: how it ended (`fgmf.gates.identity`)."""
    letters = [ROBUST] * len(measurement.labels)
    # In rising order of what is certain: a broken image is broken whatever else failed on it.
    for letter, flags in (
        (FAILED, measurement.failed),
        (UNDECIDED, measurement.undecided),
        (BROKEN, measurement.broken),
        (WRONG, ~measurement.clean_correct),
    ):
        for at in flags.nonzero().flatten().tolist():
            letters[at] = letter
    return "".join(letters)


def _configuration(
    gate: RobustnessGate, measurement: RobustnessMeasurement, threat: ThreatModel
) -> dict[str, Json]:
    """Return what decides how images end: two writings of one thing are the same."""
    attacks: list[Json] = [
        {
            "name": record.plan.name,
            "parameters": dict(record.plan.parameters),
            "restarts": record.plan.restarts,
        }
        for record in measurement.records
    ]
    resolved: dict[str, Json] = {
        "norm": threat.norm,
        "epsilon": threat.epsilon,
        "bounds": list(threat.bounds),
        "attacks": attacks,
        "restarts": gate.restarts,
    }
    configuration = configuration_of(gate, resolved)
    configuration.pop("suite", None)  # its attacks are what counts
    return configuration


def rerun_of(
    gate: RobustnessGate, measurement: RobustnessMeasurement, classifier: Classifier
) -> Rerun:
    """Return what a replay needs to repeat a measurement on the images that broke.

    Attacks that need more than the model are not repeated: then the examples alone are replayed.
    """
    recipe: dict[str, Json] = {"circumstances": circumstances_of(classifier)}
    starts = [example.start for example in measurement.examples]
    if any(record.plan.entry.engine == "outside" for record in measurement.records):
        return Rerun(recipe=recipe, starts=starts)
    plan = record_plan(
        [record.plan for record in measurement.records],
        expect_steady="nondeterministic-output" not in gate.waive,
        tolerate_changes="forward-changes-state" in gate.waive,
    )
    return Rerun(recipe={"repeat": plan, **recipe}, starts=starts)


def _attack_rows(
    measurement: RobustnessMeasurement,
    measured: MeasuredImages,
    share_interval: Callable[[int], dict[str, Json]],
    *,
    epsilon: float,
) -> list[Json]:
    """One row per attack; where it looked for the nearest example, its distance by image."""
    return [
        {
            "name": record.plan.label,
            "title": record.plan.entry.title,
            "parameters": dict(record.plan.parameters),
            "restarts": record.plan.restarts,
            "attacked": record.attacked,
            "broken": record.broken,
            "unverified": len(record.unverified),
            "no_start": len(record.no_start),
            "failed": len(record.failures),
            **_radii(record, measured),
            **_curve(record, measurement, share_interval, epsilon=epsilon),
        }
        for record in measurement.records
    ]


def _radii(record: AttackRecord, measured: MeasuredImages) -> dict[str, Json]:
    if not record.radii:
        return {}
    found = {at: radius for at, radius in sorted(record.radii.items()) if math.isfinite(radius)}
    return {"radii": {str(measured.indices[at]): radius for at, radius in found.items()}}


def _curve(
    record: AttackRecord,
    measurement: RobustnessMeasurement,
    share_interval: Callable[[int], dict[str, Json]],
    *,
    epsilon: float,
) -> dict[str, Json]:
    """Accuracy over epsilon as a minimum-norm attack tells it, up to twice the gate's epsilon.

    Only of an attack that looked at every image that is right without one: others would know
    nothing of what broke before. It is the attack's own word, of which the verdict re-verifies
    what lies within epsilon.
    """
    right = measurement.clean_correct.nonzero().flatten().tolist()
    if not right or record.failures or set(record.radii) != set(right):
        return {}
    steps = [2 * epsilon * at / _CURVE_STEPS for at in range(_CURVE_STEPS + 1)]
    points: list[Json] = []
    for reach in steps:
        standing = sum(record.radii[at] > reach for at in right)
        accuracy = standing / len(measurement.labels)
        points.append({"epsilon": reach, "accuracy": accuracy, **share_interval(standing)})
    return {"curve": points}


def _per_class(measurement: RobustnessMeasurement) -> dict[str, Json]:
    rows: dict[str, Json] = {}
    for label in sorted(set(measurement.labels.tolist())):
        mine = measurement.labels == label
        certain = not bool((measurement.undecided | measurement.failed)[mine].any())
        rows[str(label)] = {
            "images": int(mine.sum()),
            "clean_accuracy": _share(measurement.clean_correct[mine]),
            "robust_accuracy": _share(measurement.robust[mine]) if certain else None,
        }
    return rows


def _share(flags: torch.Tensor) -> float:
    return int(flags.sum()) / len(flags)
