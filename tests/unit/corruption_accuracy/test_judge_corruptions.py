"""Thresholds on the worst case, the mean and clean accuracy."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fgmf.corruption_accuracy import (
    CorruptionMeasurement,
    CorruptionThresholds,
    judge_corruptions,
    plan_cells,
)
from fgmf.statistics import judge_share
from fgmf.verdict import Cost, Outcome

CELLS = plan_cells(("contrast", "jpeg"), (1, 2))


def measurement(right: torch.Tensor, **changes: Any) -> CorruptionMeasurement:
    values: dict[str, Any] = {
        "labels": torch.zeros(right.shape[1], dtype=torch.int64),
        "clean_correct": torch.ones(right.shape[1], dtype=torch.bool),
        "cells": CELLS,
        "right": right,
        "measured": torch.ones_like(right),
        "failures": {},
        "examples": (),
        "verified": 0,
        "unverified": (),
        "cost": Cost(),
    }
    return CorruptionMeasurement(**values | changes)


def judged(subject: CorruptionMeasurement, **thresholds: Any) -> Any:
    settings = {"corruption_accuracy": 0.5, "mean_corruption_accuracy": 0.75} | thresholds
    return judge_corruptions(subject, CorruptionThresholds(**settings))


def some_right() -> torch.Tensor:
    """100 images: 60 always right, 40 wrong in one of four cells."""
    right = torch.ones(4, 100, dtype=torch.bool)
    right[1, 60:] = False
    return right


def test_worst_case_is_a_share_of_images_and_the_mean_one_of_cells() -> None:
    worst, mean = judged(measurement(some_right()))
    assert worst == judge_share("corruption_accuracy", 60, 100, threshold=0.5, confidence=0.95)
    assert (mean.quantity, mean.measured) == ("mean_corruption_accuracy", 0.9)
    assert mean.interval.method == "Chernoff-Hoeffding"
    assert mean.outcome is Outcome.PASS
    assert judged(measurement(some_right()), mean_corruption_accuracy=0.99)[1].outcome is (
        Outcome.FAIL
    )


def test_a_clean_mistake_breaks_an_image_and_not_its_cells() -> None:
    clean = torch.ones(100, dtype=torch.bool)
    clean[:10] = False
    subject = measurement(some_right(), clean_correct=clean)
    worst, mean, accuracy = judged(subject, clean_accuracy=0.95)
    assert (worst.measured, mean.measured, accuracy.measured) == (0.5, 0.9, 0.9)
    assert (accuracy.quantity, accuracy.outcome) == ("clean_accuracy", Outcome.INCONCLUSIVE)


def test_only_the_worst_case_is_judged_unless_more_is_asked() -> None:
    (worst,) = judged(measurement(some_right()), mean_corruption_accuracy=None)
    assert worst.quantity == "corruption_accuracy"


def test_a_whole_dataset_is_judged_exactly() -> None:
    worst, mean = judged(measurement(some_right()), population="dataset", dataset_size=100)
    assert worst.interval.lower == worst.interval.upper == 0.6
    assert mean.interval.lower == mean.interval.upper == 0.9


@pytest.mark.parametrize("failed", [True, False])
def test_what_is_unmeasured_never_passes_and_can_fail(failed: bool) -> None:
    done = torch.ones(4, 100, dtype=torch.bool)
    done[3, :50] = False
    failures = dict.fromkeys(range(50), ("jpeg 2", "raised")) if failed else {}
    subject = measurement(some_right() & done, measured=done, failures=failures)
    assert int((subject.failed if failed else subject.undecided).sum()) == 50
    assert not bool((subject.undecided if failed else subject.failed).any())
    worst, mean = judged(subject, corruption_accuracy=0.0, mean_corruption_accuracy=0.0)
    assert {worst.outcome, mean.outcome} == {Outcome.INCONCLUSIVE}
    assert worst.interval.lower < 0.1
    assert worst.interval.upper > 0.6
    assert mean.interval.lower < 0.775
    assert mean.interval.upper > 0.9
    worst, mean = judged(subject, corruption_accuracy=0.8, mean_corruption_accuracy=0.99)
    assert {worst.outcome, mean.outcome} == {Outcome.FAIL}


def test_a_broken_image_is_decided_whatever_is_unmeasured() -> None:
    done = torch.ones(4, 100, dtype=torch.bool)
    done[3, 60:] = False
    subject = measurement(some_right() & done, measured=done)
    assert subject.certain
    assert not subject.complete
    worst, mean = judged(subject)
    assert worst.measured == 0.6
    assert mean.measured is None
