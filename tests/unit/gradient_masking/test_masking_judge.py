"""From counts to a word: the proof is exact, the alarm needs none, nothing passes by default."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fgmf.gradient_masking import MaskingMeasurement, Symptom, judge_masking
from fgmf.gradient_masking.judge import fewest_images
from fgmf.gradient_masking.values import CounterAttack, NaiveOutcome
from fgmf.statistics import binomial_interval

COUNT = 200


def outcome(right: torch.Tensor, name: str = "PGD-40") -> NaiveOutcome:
    rows = torch.arange(len(right))
    return NaiveOutcome(name=name, rows=rows, right=right, examples=torch.zeros(len(right), 1))


def measured(told: int, left: int, **more: Any) -> MaskingMeasurement:
    """Of 200 images, `told` survive PGD-40 and `left` of those every attack."""
    places = torch.arange(COUNT)
    values: dict[str, Any] = {
        "labels": torch.zeros(COUNT, dtype=torch.int64),
        "clean_right": torch.ones(COUNT, dtype=torch.float64),
        "naive": (outcome((places < told).double()),),
        "right": (places < left).double(),
        "attacked": torch.ones(COUNT, dtype=torch.bool),
        "symptoms": (),
        "counterattacks": (),
        "examples": (),
        "random": False,
        "complete": True,
    }
    return MaskingMeasurement(**{**values, **more})


def symptom(**more: Any) -> Symptom:
    values: dict[str, Any] = {
        "name": "gradient-untrue",
        "value": 1.0,
        "limit": 0.1,
        "stands": True,
        "image_count": 64,
        "note": "",
        "mechanisms": ("wrong-gradient",),
    }
    return Symptom(**{**values, **more})


def judge(measurement: MaskingMeasurement) -> Any:
    return judge_masking(measurement, min_gap=0.05, confidence=0.95)


@pytest.mark.parametrize("lost", range(COUNT + 1))
def test_masked_is_said_exactly_where_the_whole_interval_is_above(lost: int) -> None:
    judgement = judge(measured(COUNT, COUNT - lost))
    interval = binomial_interval(lost, COUNT, confidence=0.95)
    assert (judgement.finding == "masked") == (interval.lower > 0.05)
    assert judgement.gaps[0].interval.lower == interval.lower
    assert judgement.robust_accuracy == pytest.approx(1 - lost / COUNT)


def test_an_alarm_makes_suspicious_whatever_the_gap() -> None:
    quiet, loud = symptom(), symptom(alarming=True)
    assert judge(measured(50, 50, symptoms=(quiet,))).finding == "clean"
    judgement = judge(measured(50, 50, symptoms=(quiet, loud)))
    assert judgement.finding == "suspicious"
    assert judgement.mechanisms == ("wrong-gradient",)
    fallen = symptom(alarming=True, stands=False)
    assert judge(measured(50, 50, symptoms=(fallen,))).finding == "clean"


def test_time_that_ran_out_is_no_pass() -> None:
    assert judge(measured(50, 50, complete=False)).finding == "undecided"
    assert judge(measured(150, 50, complete=False)).finding == "masked"


def test_the_confidence_is_shared_out_over_naive_attacks() -> None:
    places = torch.arange(COUNT)
    attacks = (outcome((places < 150).double()), outcome((places < 150).double(), "suite quick"))
    judgement = judge(measured(0, 130, naive=attacks))
    assert {gap.interval.confidence for gap in judgement.gaps} == {0.975}


def test_one_step_counts_only_as_far_as_shorter_steps_break() -> None:
    places = torch.arange(COUNT)
    one_step = outcome((places < 150).double(), "FGSM")
    weak = measured(0, 0, naive=(one_step,), ray=(places < 150).double())
    assert judge(weak).finding == "clean"
    leaking = measured(0, 0, naive=(one_step,), ray=(places < 50).double())
    judgement = judge(leaking)
    assert judgement.finding == "masked"
    assert judgement.gaps[0].measured == pytest.approx(0.5)


def test_shares_of_draws_that_only_scatter_are_no_gap() -> None:
    generator = torch.Generator().manual_seed(0)
    shares = torch.rand(2, COUNT, generator=generator).double()
    noisy = measured(0, 0, naive=(outcome(shares[0]),), right=shares[1], random=True)
    assert judge(noisy).finding == "clean"
    fallen = measured(0, 0, naive=(outcome(0.5 + shares[0] / 2),), right=shares[1] / 2, random=True)
    assert judge(fallen).finding == "masked"


def test_the_mechanism_is_what_the_best_attack_undid() -> None:
    records = tuple(
        CounterAttack(name=name, mechanisms=(undone,), images=9, broken=broken, scouting=False)
        for name, undone, broken in (("a", "saturation", 90), ("b", "shattered", 10))
    )
    both = symptom(mechanisms=("shattered", "saturation"))
    judgement = judge(measured(COUNT, 100, counterattacks=records, symptoms=(both,)))
    assert judgement.mechanisms == ("saturation",)
    assert judge(measured(COUNT, 100)).mechanisms == ("unknown",)


def test_a_handful_of_images_is_undecided() -> None:
    few = fewest_images(0.05, 0.95)
    assert 10 < few < 40
    for count, finding in ((few - 1, "undecided"), (few, "clean")):
        rows = torch.ones(count, dtype=torch.float64)
        small = measured(0, 0, naive=(outcome(rows),), right=rows)
        assert judge(small).finding == finding


def test_a_margin_that_breaks_more_without_any_symptom_speaks_of_the_loss() -> None:
    record = CounterAttack(
        name="margin in float64",
        mechanisms=("saturation", "vanishing"),
        images=90,
        broken=90,
        scouting=False,
    )
    judgement = judge(measured(COUNT, 100, counterattacks=(record,)))
    assert judgement.finding == "masked"
    assert judgement.mechanisms == ("weak-loss",)


def test_the_worst_of_all_attacks_is_never_better_than_one_of_them() -> None:
    """On draws of their own, chosen candidates can look better than the naive attack did."""
    judgement = judge(
        measured(
            COUNT,
            COUNT,
            naive=(outcome(torch.full((COUNT,), 0.4, dtype=torch.float64)),),
            right=torch.full((COUNT,), 0.45, dtype=torch.float64),
            random=True,
        )
    )
    (gap,) = judgement.gaps
    assert (gap.adaptive_accuracy, gap.measured) == (0.4, 0.0)
    assert judgement.robust_accuracy == 0.4
