"""Holding a measurement under corruptions against thresholds.

The worst case and clean accuracy are shares of images: exact intervals. The mean is not a share
of independent trials: see `mean_interval`. Where something is unmeasured, only FAIL is possible.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fgmf.corruption_accuracy.mean_interval import mean_interval
from fgmf.statistics import compare_to_threshold, judge_open_share
from fgmf.verdict import Condition, Interval, Outcome

if TYPE_CHECKING:
    from fgmf.corruption_accuracy.plan import CorruptionMeasurement, CorruptionThresholds
    from fgmf.types import ImageFlags


def judge_corruptions(
    measurement: CorruptionMeasurement, thresholds: CorruptionThresholds
) -> tuple[Condition, ...]:
    """Judge the worst case, and mean and clean accuracy where asked.

    Args:
        measurement: Outcomes per image.
        thresholds: What is asked.

    Returns:
        One condition per threshold, the worst case first.
    """
    good, unsure = measurement.good, measurement.failed | measurement.undecided
    conditions = [
        _share(
            "corruption_accuracy", good, good & ~unsure, thresholds.corruption_accuracy, thresholds
        )
    ]
    if thresholds.mean_corruption_accuracy is not None:
        conditions.append(_mean(measurement, thresholds.mean_corruption_accuracy, thresholds))
    if thresholds.clean_accuracy is not None:
        clean = measurement.clean_correct
        conditions.append(
            _share("clean_accuracy", clean, clean, thresholds.clean_accuracy, thresholds)
        )
    return tuple(conditions)


def _share(
    quantity: str,
    most: ImageFlags,
    fewest: ImageFlags,
    threshold: float,
    thresholds: CorruptionThresholds,
) -> Condition:
    return judge_open_share(
        quantity,
        int(most.sum()),
        int(fewest.sum()),
        len(most),
        threshold=threshold,
        confidence=thresholds.confidence,
        population_size=_population(thresholds),
    )


def _mean(
    measurement: CorruptionMeasurement, threshold: float, thresholds: CorruptionThresholds
) -> Condition:
    right, measured = measurement.right, measurement.measured
    best = _interval(int((right | ~measured).sum()), measurement, thresholds)
    outcome = compare_to_threshold(best, threshold)
    condition = Condition(
        quantity="mean_corruption_accuracy",
        measured=int(right.sum()) / right.numel(),
        interval=best,
        threshold=threshold,
        outcome=outcome,
    )
    if measurement.complete:
        return condition
    worst = _interval(int((right & measured).sum()), measurement, thresholds)
    if outcome is not Outcome.FAIL:
        outcome = Outcome.INCONCLUSIVE
    wide = replace(best, lower=worst.lower)
    return replace(condition, measured=None, interval=wide, outcome=outcome)


def _interval(
    right: int, measurement: CorruptionMeasurement, thresholds: CorruptionThresholds
) -> Interval:
    return mean_interval(
        right / measurement.right.numel(),
        len(measurement.labels),
        confidence=thresholds.confidence,
        population=_population(thresholds),
    )


def _population(thresholds: CorruptionThresholds) -> int | None:
    return thresholds.dataset_size if thresholds.population == "dataset" else None
