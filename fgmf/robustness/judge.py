"""Holding a robustness measurement against thresholds.

An image is robust only if every attack was carried out on it and none broke it. Where some
images are undecided or failed, the count of robust images is only known to lie between two
numbers: FAIL is still possible (too few even if all of them were robust), PASS is not.

With a horizon the images are taken in their order, which must be random, and each share has a
confidence sequence. It is monotone in the outcomes, so a FAIL on what cheap attacks broke is one
that the whole suite would give at the same image: looking early costs no error rate.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from fgmf.sequential import ConfidenceSequence
from fgmf.statistics import between_conditions, judge_share
from fgmf.verdict import Condition, Interval, Outcome

if TYPE_CHECKING:
    from fgmf.robustness.plan import RobustnessMeasurement, Thresholds
    from fgmf.types import ImageFlags


def judge_robustness(
    measurement: RobustnessMeasurement, thresholds: Thresholds
) -> tuple[Condition, ...]:
    """Judge robust accuracy, and clean and worst-class accuracy where asked.

    Args:
        measurement: Outcomes per image.
        thresholds: What is asked.

    Returns:
        One condition per threshold, robust accuracy first; for the worst class, the condition
        of the class that decides, at a confidence corrected for the number of classes
        (Bonferroni).
    """
    unsure = measurement.undecided | measurement.failed
    conditions = [
        _judge(
            "robust_accuracy",
            measurement.robust,
            unsure,
            thresholds.robust_accuracy,
            thresholds,
        )
    ]
    if thresholds.clean_accuracy is not None:
        none = torch.zeros_like(unsure)
        conditions.append(
            _judge(
                "clean_accuracy",
                measurement.clean_correct,
                none,
                thresholds.clean_accuracy,
                thresholds,
            )
        )
    if thresholds.worst_class_robust_accuracy is not None:
        conditions.append(_judge_worst_class(measurement, thresholds))
    return tuple(conditions)


def _judge(
    quantity: str, good: ImageFlags, unsure: ImageFlags, threshold: float, thresholds: Thresholds
) -> Condition:
    law = _judged_once if thresholds.horizon is None else _judged_in_order
    best = law(quantity, good, threshold, thresholds)
    if not bool(unsure.any()):
        return best
    return between_conditions(best, law(quantity, good & ~unsure, threshold, thresholds))


def _judged_once(
    quantity: str, good: ImageFlags, threshold: float, thresholds: Thresholds
) -> Condition:
    return judge_share(
        quantity,
        int(good.sum()),
        len(good),
        threshold=threshold,
        confidence=thresholds.confidence,
        population_size=_population_size(thresholds),
    )


def _judged_in_order(
    quantity: str, good: ImageFlags, threshold: float, thresholds: Thresholds
) -> Condition:
    sequence = ConfidenceSequence(
        population_size=_population_size(thresholds),
        confidence=thresholds.confidence,
        threshold=threshold,
        horizon=thresholds.horizon,
    )
    interval = sequence.update(good.tolist())
    return Condition(
        quantity=quantity,
        measured=int(good.sum()) / len(good),
        interval=interval,
        threshold=threshold,
        outcome=sequence.decide(threshold),
    )


def _population_size(thresholds: Thresholds) -> int | None:
    return thresholds.dataset_size if thresholds.population == "dataset" else None


def _judge_worst_class(measurement: RobustnessMeasurement, thresholds: Thresholds) -> Condition:
    threshold = thresholds.worst_class_robust_accuracy or 0.0
    confidence = 1 - (1 - thresholds.confidence) / max(1, len(thresholds.class_sizes))
    unsure = measurement.undecided | measurement.failed
    conditions = []
    for label, size in sorted(thresholds.class_sizes.items()):
        rows = measurement.labels == label
        own = replace(
            thresholds,
            dataset_size=size,
            confidence=confidence,
            horizon=_share_of(thresholds, size),
        )
        name = "worst_class_robust_accuracy"
        if bool(rows.any()):
            condition = _judge(name, measurement.robust[rows], unsure[rows], threshold, own)
        else:
            condition = _not_sampled(name, threshold, confidence)
        conditions.append(replace(condition, subject=f"class {label}"))
    order = {Outcome.FAIL: 0, Outcome.INCONCLUSIVE: 1, Outcome.PASS: 2}
    return min(conditions, key=lambda c: (order[c.outcome], _lower(c.interval)))


def _not_sampled(quantity: str, threshold: float, confidence: float) -> Condition:
    """A class of which the sample holds no image is no evidence of anything."""
    return Condition(
        quantity=quantity,
        measured=None,
        interval=Interval(lower=0.0, upper=1.0, confidence=confidence, method="no images"),
        threshold=threshold,
        outcome=Outcome.INCONCLUSIVE,
    )


def _share_of(thresholds: Thresholds, class_size: int) -> int | None:
    """The number of images of a class that the plan is expected to hold."""
    if thresholds.horizon is None:
        return None
    everyone = sum(thresholds.class_sizes.values())
    return max(1, round(thresholds.horizon * class_size / everyone))


def _lower(interval: Interval | None) -> float:
    return 0.0 if interval is None else interval.lower
