"""What a gradient-masking verdict rests on, and its reason in one sentence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fgmf.canonical import tensor_digest
from fgmf.gates.examples import library_versions
from fgmf.gradient_masking.judge import breakdown
from fgmf.gradient_masking.mechanisms import MEANINGS, REMEDIES

if TYPE_CHECKING:
    from fgmf.classifier import Classifier
    from fgmf.gates.gradient_masking import GradientMaskingGate
    from fgmf.gates.subject import MeasuredImages
    from fgmf.gradient_masking import Gap, MaskingJudgement, MaskingMeasurement, Symptom
    from fgmf.gradient_masking.values import CounterAttack
    from fgmf.types import Json
    from fgmf.verdict import Interval


def reason_of_masking(
    measurement: MaskingMeasurement, judgement: MaskingJudgement, *, min_gap: float
) -> str:
    """Say in one sentence what was found; it stands alone in a headline.

    Args:
        measurement: Of an examination.
        judgement: On it.
        min_gap: Robust accuracy that may be feigned.
    """
    words = f"{judgement.finding}: "
    widest = judgement.gaps[0] if judgement.gaps else None
    accuracies = _accuracies(measurement, widest)
    if judgement.finding == "masked" and widest is not None:
        how = ", ".join(judgement.mechanisms)
        where = f" at {judgement.layer}" if judgement.layer else ""
        return f"{words}{accuracies} (gap {_gap(widest)} > {min_gap:g} allowed; {how}{where})"
    if judgement.finding == "suspicious":
        alarms = [symptom for symptom in judgement.symptoms if symptom.alarming]
        more = f" (and {len(alarms) - 1} more)" if len(alarms) > 1 else ""
        return (
            f"{words}{_shown(alarms[0])}{more}, so attacks that follow the gradient prove "
            f"nothing; {accuracies}"
        )
    if judgement.finding == "undecided":
        why = _undecided(measurement)
        return f"{words}{why}; {accuracies}"
    shown = "" if widest is None else f" (gap {_gap(widest)}, not shown to be above {min_gap:g})"
    return f"{words}{accuracies}{shown}"


def _undecided(measurement: MaskingMeasurement) -> str:
    if not measurement.complete:
        looked = bool(measurement.naive or measurement.counterattacks)
        return "max_seconds ran out" if looked else "none of the scouts is right without an attack"
    why = breakdown(measurement)
    if why:
        return f"the counter-attacks could not be carried out ({why})"
    return f"{len(measurement.right)} images are too few to show a gap"


def _accuracies(measurement: MaskingMeasurement, widest: Gap | None) -> str:
    if widest is None:
        return f"robust accuracy {float(measurement.right.mean()):.3f}"
    best = _best_attack(measurement)
    beside = best or "every counter-attack"
    return (
        f"robust accuracy {widest.naive_accuracy:.3f} under {widest.naive} is "
        f"{widest.adaptive_accuracy:.3f} under {beside}"
    )


def _best_attack(measurement: MaskingMeasurement) -> str:
    useful = [record for record in measurement.counterattacks if record.broken]
    return max(useful, key=lambda record: record.broken).name if useful else ""


def _gap(gap: Gap) -> str:
    return f"{gap.measured:.3f} [{gap.interval.lower:.3f}, {gap.interval.upper:.3f}]"


def _shown(symptom: Symptom) -> str:
    value = "" if symptom.value is None else f" {symptom.value:.3g}"
    return f"{symptom.name}{value} ({symptom.note})"


def evidence_of_masking(
    gate: GradientMaskingGate,
    measurement: MaskingMeasurement,
    judgement: MaskingJudgement,
    subject: MeasuredImages,
    classifier: Classifier,
) -> dict[str, Json]:
    """Return the measured values for people and programs; they depend on the seed alone.

    Images are named by their position in the user's data set.
    """
    broken = (measurement.right <= 0.05) & (measurement.clean_right > 0.05)
    wrong = measurement.clean_right <= 0.05
    return {
        "masking": judgement.finding,
        "threat": gate.threat_model(classifier.bounds).describe(),
        "bounds": list(classifier.bounds),
        "clean_accuracy": float(measurement.clean_right.mean()),
        "robust_accuracy": judgement.robust_accuracy,
        "robust_interval": _interval(judgement.robust_interval),
        "gaps": [_gap_row(gap) for gap in judgement.gaps],
        "mechanisms": [
            {"name": name, "meaning": MEANINGS[name], "remedy": REMEDIES[name]}
            for name in judgement.mechanisms
        ],
        "layer": judgement.layer,
        "symptoms": [_symptom_row(symptom) for symptom in measurement.symptoms],
        "counterattacks": [_attack_row(record) for record in measurement.counterattacks],
        "random_output": measurement.random,
        "dataset_size": subject.dataset_size,
        "image_count": len(subject.indices),
        "misclassified_images": _named(subject, wrong.nonzero().flatten().tolist()),
        "broken_images": _named(subject, broken.nonzero().flatten().tolist()),
        "verified": f"{len(measurement.examples)}/{len(measurement.examples)}",
        "data_digest": tensor_digest(subject.images),
        "model_digest": classifier.state_digest(),
        "library_versions": library_versions(),
    }


def _named(subject: MeasuredImages, positions: list[int]) -> list[Json]:
    return [subject.indices[at] for at in positions]


def _gap_row(gap: Gap) -> Json:
    return {
        "naive": gap.naive,
        "naive_accuracy": gap.naive_accuracy,
        "adaptive_accuracy": gap.adaptive_accuracy,
        "gap": gap.measured,
        "interval": _interval(gap.interval),
        "image_count": gap.image_count,
        "fooled": gap.fooled,
    }


def _symptom_row(symptom: Symptom) -> Json:
    value = symptom.value
    return {
        "name": symptom.name,
        "value": value if value is not None and math.isfinite(value) else None,
        "limit": symptom.limit,
        "stands": symptom.stands,
        "alarming": symptom.alarming,
        "image_count": symptom.image_count,
        "interval": None if symptom.interval is None else _interval(symptom.interval),
        "mechanisms": list(symptom.mechanisms),
        "layer": symptom.layer,
        "note": symptom.note,
        "passes": symptom.passes,
    }


def _attack_row(record: CounterAttack) -> Json:
    return {
        "name": record.name,
        "mechanisms": list(record.mechanisms),
        "layer": record.layer,
        "images": record.images,
        "broken": record.broken,
        "scouting": record.scouting,
        "passes": record.passes,
        "failure": record.failure,
    }


def _interval(interval: Interval) -> Json:
    return {
        "lower": interval.lower,
        "upper": interval.upper,
        "confidence": interval.confidence,
        "method": interval.method,
    }
