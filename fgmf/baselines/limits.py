"""How much a gate may lose against its baseline, such as ``robust_accuracy:2pp``.

A limit is held against counts, in exact arithmetic; an image that is unsure is counted both
ways, and where that decides, the answer is INCONCLUSIVE.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Literal

from fgmf.baselines.pairing import regression_p_value
from fgmf.errors import InvalidInput
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from fgmf.baselines.pairing import PairedChange, PairedCounts

SIGNIFICANCE: Final = 0.05
"""A loss whose one-sided p-value is below this is significant; any other is within noise."""
LIMIT_FORMS: Final = "robust_accuracy:2pp, robust_accuracy:5% or robust_accuracy:significant"

_LIMIT = re.compile(r"robust_accuracy:(?:([0-9]{1,2}(?:\.[0-9]{1,6})?)(pp|%)|significant)")


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The most that may be lost.

    Attributes:
        text: As the user wrote it.
        unit: Percentage points, per cent of the baseline, or a significance test.
        amount: Share that may be lost; more than that breaks the limit. 0 for a test.
    """

    text: str
    unit: Literal["pp", "%", "significant"]
    amount: Fraction = Fraction(0)


@dataclass(frozen=True, kw_only=True)
class LimitResult:
    """How a change stands to a limit.

    Attributes:
        limit: The limit.
        outcome: PASS, FAIL or INCONCLUSIVE.
        within_noise: It is broken, but chance alone would break as many images too often.
    """

    limit: Limit
    outcome: Outcome
    within_noise: bool = False


def parse_limit(text: str) -> Limit:
    """Read a limit.

    Args:
        text: ``robust_accuracy:`` and percentage points (``2pp``), per cent of the baseline's
            robust accuracy (``5%``), or ``significant``.

    Raises:
        InvalidInput: It is anything else.
    """
    found = _LIMIT.fullmatch(text)
    if found is None:
        raise InvalidInput(f"expected {LIMIT_FORMS} (numbers below 100), got {text!r}")
    number, unit = found.groups()
    if number is None:
        return Limit(text=text, unit="significant")
    amount = Fraction(number) / 100
    return Limit(text=text, unit="pp" if unit == "pp" else "%", amount=amount)


def judge_change(change: PairedChange, limit: Limit) -> LimitResult:
    """Hold a change against a limit.

    Args:
        change: Counted both ways where images are unsure.
        limit: What may be lost.
    """
    worst, best = (_broken(counts, limit) for counts in (change.worst, change.best))
    if worst is not best:
        return LimitResult(limit=limit, outcome=Outcome.INCONCLUSIVE)
    if not worst:
        return LimitResult(limit=limit, outcome=Outcome.PASS)
    # The least that is lost for certain decides whether chance explains it.
    noise = _p_value(change.best) >= SIGNIFICANCE
    return LimitResult(limit=limit, outcome=Outcome.FAIL, within_noise=noise)


def _broken(counts: PairedCounts, limit: Limit) -> bool:
    if limit.unit == "significant":
        return _p_value(counts) < SIGNIFICANCE
    whole = counts.images if limit.unit == "pp" else counts.robust_before
    return counts.lost > limit.amount * whole


def _p_value(counts: PairedCounts) -> float:
    return regression_p_value(counts.newly_broken, counts.newly_fixed)
