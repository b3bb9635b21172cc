"""From what was measured to `masked`, `suspicious`, `clean` or `undecided`.

    gap       = mean over images of (right under a naive attack - right under the worst attack)
    interval  = exact binomial where both are 0 or 1: the worst attack includes the naive ones, so
                images only ever fall; by betting on shares of draws for random models
    masked      a gap's whole interval lies above `min_gap`
    suspicious  an alarming symptom stands
    undecided   not everything could be looked at (time ran out, no scout is right without an
                attack, attacks on the margin or all counter-attacks broke down), or there are too
                few images to show a gap 20 points above `min_gap`
    clean       otherwise

One-step attacks are weak on honest models: the gap of FGSM counts only as far as other single steps
break images that it does not, shorter ones in its own direction, or one along the gradient of a
counter-attack that is proof. The confidence is shared out
over the naive attacks that are judged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import torch

from fgmf.corruption_accuracy.mean_interval import mean_interval
from fgmf.gradient_masking.mechanisms import in_order
from fgmf.gradient_masking.paired import paired_interval
from fgmf.statistics import binomial_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.gradient_masking.mechanisms import Mechanism
    from fgmf.gradient_masking.values import (
        CounterAttack,
        MaskingMeasurement,
        NaiveOutcome,
        Symptom,
    )
    from fgmf.verdict import Interval

Finding = Literal["masked", "suspicious", "clean", "undecided"]
ONE_STEP: Final = "FGSM"
ITERATIVE: Final = "PGD-40"
MARGIN: Final = "margin"
"""What names of attacks begin with that follow the margin of the model itself."""
_SHOWN: Final = 0.2
_MANY: Final = 150


@dataclass(frozen=True, kw_only=True)
class Gap:
    """How much of a naive attack's robust accuracy is feigned.

    Attributes:
        naive: The attack.
        naive_accuracy: What it says.
        adaptive_accuracy: What the worst attack says of the same images.
        measured: The difference that counts.
        interval: Of it.
        image_count: Images that both are about.
        fooled: The whole interval lies above what is allowed.
    """

    naive: str
    naive_accuracy: float
    adaptive_accuracy: float
    measured: float
    interval: Interval
    image_count: int
    fooled: bool


@dataclass(frozen=True, kw_only=True)
class MaskingJudgement:
    """What is to be said of a model.

    Attributes:
        finding: The word.
        gaps: Of every naive attack, the widest first.
        robust_accuracy: The worst over all attacks.
        robust_interval: Of it.
        mechanisms: How gradients are masked, as far as it shows.
        layer: Where, if it shows.
        symptoms: Those that stand.
    """

    finding: Finding
    gaps: tuple[Gap, ...]
    robust_accuracy: float
    robust_interval: Interval
    mechanisms: tuple[Mechanism, ...]
    layer: str
    symptoms: tuple[Symptom, ...]


def judge_masking(
    measurement: MaskingMeasurement, *, min_gap: float, confidence: float
) -> MaskingJudgement:
    """Judge a measurement.

    Args:
        measurement: Of an examination.
        min_gap: Robust accuracy that may be feigned.
        confidence: Of all intervals together.
    """
    judged = [outcome for outcome in measurement.naive if _can_be_judged(measurement, outcome)]
    shared = 1 - (1 - confidence) / max(1, len(judged))
    gaps = sorted(
        (_gap(measurement, outcome, min_gap, shared) for outcome in judged),
        key=lambda gap: (-gap.interval.lower, gap.naive == ONE_STEP),
    )
    standing = tuple(symptom for symptom in measurement.symptoms if symptom.stands)
    finding = _finding(measurement, gaps, standing, min_gap, shared)
    mechanisms, layer = _explained(measurement, standing, finding)
    everyone = [o for o in measurement.naive if len(o.rows) == len(measurement.right)]
    least = min(everyone, key=lambda o: o.robust_accuracy, default=None)
    worst = measurement.right
    if least is not None and least.robust_accuracy < float(worst.mean()):
        worst = least.right  # chosen candidates of a random model are judged on other draws
    return MaskingJudgement(
        finding=finding,
        gaps=tuple(gaps),
        robust_accuracy=float(worst.mean()),
        robust_interval=_interval(worst, confidence),
        mechanisms=mechanisms,
        layer=layer,
        symptoms=standing,
    )


def _can_be_judged(measurement: MaskingMeasurement, outcome: NaiveOutcome) -> bool:
    return len(outcome.rows) > 0 and (outcome.name != ONE_STEP or measurement.ray is not None)


def _gap(
    measurement: MaskingMeasurement, outcome: NaiveOutcome, min_gap: float, confidence: float
) -> Gap:
    worst = measurement.right[outcome.rows]
    counted, lowest = outcome.right, worst
    if outcome.name == ONE_STEP and measurement.ray is not None:  # and never against the worst
        lowest = torch.minimum(measurement.ray, counted)
    lost = counted - lowest
    if measurement.random:
        interval = paired_interval(lost, confidence=confidence)
    else:
        interval = _interval(lost.clamp_min(0.0), confidence)
    return Gap(
        naive=outcome.name,
        naive_accuracy=outcome.robust_accuracy,
        adaptive_accuracy=min(float(worst.mean()), outcome.robust_accuracy),
        measured=max(0.0, float(lost.mean())),
        interval=replace(interval, lower=max(0.0, interval.lower), upper=max(0.0, interval.upper)),
        image_count=len(lost),
        fooled=interval.lower > min_gap,
    )


def _interval(values: torch.Tensor, confidence: float) -> Interval:
    whole = bool(((values == 0) | (values == 1)).all())
    if whole:
        return binomial_interval(int(values.sum()), len(values), confidence=confidence)
    mean = min(1.0, max(0.0, float(values.mean())))
    return mean_interval(mean, len(values), confidence=confidence)


def _finding(
    measurement: MaskingMeasurement,
    gaps: Sequence[Gap],
    standing: tuple[Symptom, ...],
    min_gap: float,
    confidence: float,
) -> Finding:
    if any(gap.fooled for gap in gaps):
        return "masked"
    if any(symptom.alarming for symptom in standing):
        return "suspicious"
    few = len(measurement.right) < fewest_images(min_gap, confidence)
    if few or not measurement.complete or breakdown(measurement):
        return "undecided"
    return "clean"


def breakdown(measurement: MaskingMeasurement) -> str:
    """Return why counter-attacks prove nothing; empty if they were carried out.

    Repairs of a network may fail, they are guesses. The margin of the model itself has to be
    followed where it has gradients, and where nothing was carried out nothing is known.
    """
    records = [record for record in measurement.counterattacks if record.images]
    needed = [record for record in records if record.name.startswith(MARGIN)]
    for group in (needed, records):
        if group and all(record.failure for record in group):
            return f"{group[0].name}: {group[0].failure}"
    return ""


def fewest_images(min_gap: float, confidence: float) -> int:
    """Return the fewest images of which a gap 20 points above what is allowed can be shown."""
    gap = min(0.9, min_gap + _SHOWN)

    def shows(count: int) -> bool:
        lost = math.floor(gap * count)
        return binomial_interval(lost, count, confidence=confidence).lower > min_gap

    return 1 + max(count for count in range(1, _MANY) if not shows(count))


def _explained(
    measurement: MaskingMeasurement, standing: tuple[Symptom, ...], finding: Finding
) -> tuple[tuple[Mechanism, ...], str]:
    if finding not in {"masked", "suspicious"}:
        return (), ""
    alarms = [m for symptom in standing if symptom.alarming for m in symptom.mechanisms]
    if finding == "suspicious":
        return in_order(alarms) or ("unknown",), _layer(standing)
    told = [m for symptom in standing for m in symptom.mechanisms]
    if not measurement.random:
        told = [mechanism for mechanism in told if mechanism != "stochastic"]
    useful = [record for record in measurement.counterattacks if record.broken]
    if not useful:
        return in_order(told) or ("unknown",), _layer(standing)
    best = max(useful, key=lambda record: record.broken)
    # What the attack undid is the mechanism, where a symptom speaks for it, too.
    agreed = [mechanism for mechanism in told if mechanism in best.mechanisms]
    named = [*alarms, *agreed] or told or _of_attack(best)
    return in_order(named) or ("unknown",), best.layer or _layer(standing)


def _of_attack(best: CounterAttack) -> list[Mechanism]:
    """What an attack undid where no symptom speaks: a margin that is followed is a better loss."""
    if "saturation" in best.mechanisms:
        return ["weak-loss"]
    return list(best.mechanisms)


def _layer(standing: tuple[Symptom, ...]) -> str:
    return next((symptom.layer for symptom in standing if symptom.layer), "")
