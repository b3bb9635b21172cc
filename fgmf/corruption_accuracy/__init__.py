"""Measuring accuracy under common corruptions: every image, every corruption, every severity.

`plan` says what is measured, `measure` does it, `judge` compares the result with thresholds,
`mean_interval` bounds the mean.
"""

from __future__ import annotations

from fgmf.corruption_accuracy.judge import judge_corruptions
from fgmf.corruption_accuracy.measure import measure_corruptions
from fgmf.corruption_accuracy.plan import (
    CorruptedExample,
    CorruptionCell,
    CorruptionMeasurement,
    CorruptionPlan,
    CorruptionThresholds,
    plan_cells,
)

__all__ = [
    "CorruptedExample",
    "CorruptionCell",
    "CorruptionMeasurement",
    "CorruptionPlan",
    "CorruptionThresholds",
    "judge_corruptions",
    "measure_corruptions",
    "plan_cells",
]
