"""Checks on scale: is epsilon in the units of the images, and are the images what they seem?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from fgmf.preflight.policy import Observation
from fgmf.threat import format_epsilon

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.preflight.data import ImageStatistics
    from fgmf.threat import ThreatModel
    from fgmf.types import Bounds

_TINY: Final = {"linf": 1e-3, "l2": 2e-4, "l1": 1e-5}
"""Budgets below these shares of the range are smaller than any in use: Linf 1/255 is 4e-3 of
[0, 1]; L2 0.1 on 224x224 colour is 2.6e-4 of the diagonal; L1 is looked at per pixel."""
_ABSURD: Final = 0.2
"""Of those budgets: 8/255 that was divided by 255 once more is 1.2e-4 of the range."""
_RESOLUTION: Final = 2.0**-22
"""Two steps of float32 near 1."""
_LEVELS: Final = 8.0
"""Whole-number images need at least this range to count as pixel levels: binary images do not."""
_SMALL_STEP: Final = 1 / 64
_UNIT_RANGE: Final = 16.0
"""Bounds wider than this are no unit range, so a tiny epsilon is one that was meant for one."""


def observe_epsilon(statistics: ImageStatistics, threat: ThreatModel) -> Iterator[Observation]:
    """Judge the budget against the range and the kind of the images.

    Args:
        statistics: Of all images.
        threat: Norm, budget and bounds.
    """
    if threat.epsilon == 0:
        yield Observation(
            name="epsilon-zero",
            severity="error",
            message="expected epsilon > 0, got 0: no image would be attacked and the robust "
            "accuracy would be the clean one",
            fix="give a budget in the units of the bounds, such as 8/255 for bounds (0, 1)",
            evidence={"epsilon": 0.0},
        )
        return
    yield from _observe_wide(statistics, threat)
    if _fractional(statistics, threat):
        yield _fractional_epsilon(statistics, threat)
    else:
        yield from _observe_tiny(statistics, threat)


def _share_of_range(statistics: ImageStatistics, threat: ThreatModel) -> float:
    """Epsilon as a share of the distance between the darkest and the brightest image."""
    lower, upper = threat.bounds
    pixels = math.prod(statistics.shape[1:])
    reach = {"linf": 1.0, "l2": math.sqrt(pixels), "l1": float(pixels)}[threat.norm]
    return threat.epsilon / ((upper - lower) * reach)


def _observe_wide(statistics: ImageStatistics, threat: ThreatModel) -> Iterator[Observation]:
    lower, upper = threat.bounds
    share = _share_of_range(statistics, threat)
    if share < 0.5:
        return
    everything = share >= 1
    what = "every image" if everything else "plain mid-grey from every image"
    yield Observation(
        name="epsilon-wider-than-range",
        severity="error" if everything else "warning",
        message=f"{threat.describe()} reaches {what} within the bounds [{lower:g}, {upper:g}]",
        fix="give epsilon in the units of the bounds: for bounds (0, 1) 8/255, not 8",
        evidence={"epsilon": threat.epsilon, "share_of_range": round(share, 6)},
    )


def _fractional(statistics: ImageStatistics, threat: ThreatModel) -> bool:
    width = threat.bounds[1] - threat.bounds[0]
    return (
        statistics.whole
        and width >= _LEVELS
        and threat.epsilon < 1
        and threat.epsilon < _SMALL_STEP * width
    )


def _fractional_epsilon(statistics: ImageStatistics, threat: ThreatModel) -> Observation:
    lower, upper = threat.bounds
    scaled = threat.epsilon * (upper - lower)
    return Observation(
        name="integer-images-fractional-epsilon",
        severity="error",
        message=f"images are whole numbers in [{lower:g}, {upper:g}] ({statistics.dtype}), but "
        f"epsilon {format_epsilon(threat.epsilon)} is less than one level: robustness would be "
        "the clean accuracy",
        fix=f"give epsilon in the units of the bounds (for {format_epsilon(threat.epsilon)} of "
        f"[0, 1] that is {scaled:.4g}), or divide images and bounds by {upper:g}",
        evidence=statistics.evidence() | {"epsilon": threat.epsilon, "dtype": statistics.dtype},
    )


def _observe_tiny(statistics: ImageStatistics, threat: ThreatModel) -> Iterator[Observation]:
    lower, upper = threat.bounds
    share = _share_of_range(statistics, threat)
    if share >= _TINY[threat.norm]:
        return
    # Below this a pixel in float32 cannot even hold the change.
    lost = threat.epsilon < _RESOLUTION * max(abs(lower), abs(upper))
    yield Observation(
        name="epsilon-tiny",
        severity="error"
        if lost or upper - lower >= _UNIT_RANGE or share < _ABSURD * _TINY[threat.norm]
        else "warning",
        message=f"{threat.describe()} is {share:.2g} of the range of the bounds "
        f"[{lower:g}, {upper:g}]: almost no image can be broken",
        fix=f"give epsilon in the units of the bounds (for that of [0, 1]: "
        f"{threat.epsilon * (upper - lower):.4g})",
        evidence={"epsilon": threat.epsilon, "share_of_range": share},
    )


def observe_normalised(
    statistics: ImageStatistics, *, bounds: Bounds, threat: ThreatModel | None
) -> Iterator[Observation]:
    """Judge whether the images were normalised before, with bounds widened to hold them.

    Then epsilon is in units of the deviation: 8/255 of such a unit is 2 to 4 times less than
    8/255 of [0, 1], and robustness is inflated.

    Args:
        statistics: Of all images.
        bounds: The classifier's bounds.
        threat: Used for the words only.

    Source: a heuristic: bounds around zero, wider than a unit range, and about zero mean and
        unit deviation. Images in exactly [-1, 1] are common and get a warning: whether epsilon
        was meant in these units cannot be seen. Flat feature vectors get a warning, too.
    """
    lower, upper = bounds
    if not _looks_normalised(statistics, bounds):
        return
    epsilon = f"epsilon {format_epsilon(threat.epsilon)}" if threat else "epsilon"
    common = (lower, upper) == (-1.0, 1.0) or len(statistics.shape) < 3
    yield Observation(
        name="images-normalised-already",
        severity="warning" if common else "error",
        message=f"images look normalised (mean {statistics.average:.2f}, std "
        f"{statistics.deviation:.2f}, bounds [{lower:.4g}, {upper:.4g}]): {epsilon} is in "
        "normalised units and so much weaker than the same number on [0, 1]",
        fix="pass the images as they were before, bounds (0, 1), and the mean and std as "
        "`normalize`; if epsilon is meant in these units, waive this finding",
        evidence=statistics.evidence() | {"bounds": [lower, upper]},
    )


def _looks_normalised(statistics: ImageStatistics, bounds: Bounds) -> bool:
    lower, upper = bounds
    around_zero = lower < 0 < upper and statistics.lowest < 0 < statistics.highest
    return (
        around_zero
        and 1.5 < upper - lower <= 40
        and not statistics.whole
        and abs(statistics.average) <= 1.75
        and 0.35 <= statistics.deviation <= 2.5
    )
