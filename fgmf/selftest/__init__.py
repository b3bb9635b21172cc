"""An attack that checks itself: questions to which the answer is known beforehand.

`binarization`: an adversarial example that exists by construction, on the user's model (`points`,
`features`, `readout`). `scaling`: decisions that stay as they are while logits grow.
`closed_form` and `interval_bounds` (with `chains`): models whose robustness is known exactly, or
from below; `controls` attacks them.
"""

from __future__ import annotations

from fgmf.selftest.binarization import (
    BinarizationMeasurement,
    BinarizationQuestion,
    measure_binarization,
)
from fgmf.selftest.controls import ControlResult, run_controls
from fgmf.selftest.interval_bounds import certified_images
from fgmf.selftest.scaling import ScalingMeasurement, measure_scaling

__all__ = [
    "BinarizationMeasurement",
    "BinarizationQuestion",
    "ControlResult",
    "ScalingMeasurement",
    "certified_images",
    "measure_binarization",
    "measure_scaling",
    "run_controls",
]
