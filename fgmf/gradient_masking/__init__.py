"""Does a model mask its gradients, so that attacks fail though it is not robust?

`examination` runs naive attacks, probes and counter-attacks; `judge` says what follows; the probes
are in `answers`, `slopes` and `paths`, the counter-attacks in `league` and what it names.
"""

from __future__ import annotations

from fgmf.gradient_masking.examination import measure_gradient_masking
from fgmf.gradient_masking.judge import Gap, MaskingJudgement, judge_masking
from fgmf.gradient_masking.values import MaskingMeasurement, MaskingPlan, Symptom

__all__ = [
    "Gap",
    "MaskingJudgement",
    "MaskingMeasurement",
    "MaskingPlan",
    "Symptom",
    "judge_masking",
    "measure_gradient_masking",
]
