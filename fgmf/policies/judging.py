"""Holding returns against thresholds, with intervals that are valid for any distribution of them.

mean return:   returns, scaled from the environment's range to [0, 1]: Chernoff-Hoeffding
success rate:  a share of episodes: Clopper-Pearson
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fgmf.corruption_accuracy.mean_interval import mean_interval
from fgmf.statistics import between_conditions, compare_to_limit, judge_share
from fgmf.verdict import Condition

if TYPE_CHECKING:
    import torch

    from fgmf.policies.measuring import PolicyMeasurement


@dataclass(frozen=True, kw_only=True)
class PolicyThresholds:
    """What the measurement is held against.

    Attributes:
        return_under_attack: Lowest accepted mean of the worst return of each episode.
        clean_return: Lowest accepted mean return without an adversary; None asks nothing.
        success_rate: Lowest accepted share of episodes that succeed under every attack.
        confidence: Of every interval.
        return_range: Lowest and highest return of an episode.
    """

    return_under_attack: float
    clean_return: float | None = None
    success_rate: float | None = None
    confidence: float = 0.95
    return_range: tuple[float, float] = (0.0, 1.0)


def judge_policy(
    measurement: PolicyMeasurement, thresholds: PolicyThresholds
) -> tuple[Condition, ...]:
    """Judge returns and success.

    Args:
        measurement: Returns by episode.
        thresholds: What is asked.

    Returns:
        One condition per threshold, the return under attack first. Where attacks are missing, what
        is known is the best that can be: a FAIL stands, a PASS becomes INCONCLUSIVE.
    """
    worst = measurement.worst_returns
    condition = _judge("return_under_attack", worst, thresholds.return_under_attack, thresholds)
    if not measurement.complete:
        lowest = worst.new_full(worst.shape, thresholds.return_range[0])
        least = _judge("return_under_attack", lowest, thresholds.return_under_attack, thresholds)
        condition = between_conditions(condition, least)
    conditions = [condition]
    if thresholds.success_rate is not None:
        conditions.append(_judge_success(measurement, thresholds, thresholds.success_rate))
    if thresholds.clean_return is not None:
        clean = measurement.clean.returns
        conditions.append(_judge("clean_return", clean, thresholds.clean_return, thresholds))
    return tuple(conditions)


def _judge(
    quantity: str, returns: torch.Tensor, threshold: float, thresholds: PolicyThresholds
) -> Condition:
    lowest, highest = thresholds.return_range
    mean = float(returns.mean())
    share = min(max((mean - lowest) / (highest - lowest), 0.0), 1.0)
    scaled = mean_interval(share, len(returns), confidence=thresholds.confidence)
    interval = replace(
        scaled,
        lower=lowest + scaled.lower * (highest - lowest),
        upper=lowest + scaled.upper * (highest - lowest),
    )
    return Condition(
        quantity=quantity,
        measured=mean,
        interval=interval,
        threshold=threshold,
        outcome=compare_to_limit(interval, threshold),
    )


def _judge_success(
    measurement: PolicyMeasurement, thresholds: PolicyThresholds, threshold: float
) -> Condition:
    def judged(count: int) -> Condition:
        return judge_share(
            "success_under_attack",
            count,
            len(measurement.seeds),
            threshold=threshold,
            confidence=thresholds.confidence,
        )

    best = judged(int(measurement.always_succeeded.sum()))
    return best if measurement.complete else between_conditions(best, judged(0))
