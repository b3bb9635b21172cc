"""Measuring robustness: worst case per image over attacks and restarts, re-verified.

`plan` says what is measured, `measure` does it, `blocks` does it until enough is known,
`sharding` in several processes, `starts` finds images to walk from, `judge` compares the result
with thresholds.
"""

from __future__ import annotations

from fgmf.robustness.blocks import measure_until_enough
from fgmf.robustness.judge import judge_robustness
from fgmf.robustness.measure import measure_robustness
from fgmf.robustness.plan import (
    AttackRecord,
    Example,
    RobustnessMeasurement,
    RobustnessPlan,
    Thresholds,
)
from fgmf.robustness.sharding import measure_shared

__all__ = [
    "AttackRecord",
    "Example",
    "RobustnessMeasurement",
    "RobustnessPlan",
    "Thresholds",
    "judge_robustness",
    "measure_robustness",
    "measure_shared",
    "measure_until_enough",
]
