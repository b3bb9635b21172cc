"""Logits times k: cross-entropy stands still, margins do not notice."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import LinearModel, classify, keys_of, make_images, rule

from fgmf.attacks.plans import plan_attacks
from fgmf.errors import InvalidInput
from fgmf.robustness import RobustnessPlan
from fgmf.selftest import ScalingMeasurement, measure_scaling
from fgmf.threat import ThreatModel

IMAGES = make_images(30, margin=0.1)


def _scaling(attack: Any, *scales: float, scale: float = 1.0) -> ScalingMeasurement:
    classifier = classify(LinearModel(3, scale=scale))
    plan = RobustnessPlan(
        threat=ThreatModel(norm="linf", epsilon=0.1),
        attacks=plan_attacks([(attack, {}, None)], restarts=1),
        seed=0,
    )
    labels = classifier.predict(IMAGES)
    return measure_scaling(
        classifier, IMAGES, rule(labels), plan, keys=keys_of(IMAGES), scales=scales
    )


def test_margins_do_not_notice() -> None:
    result = _scaling("deepfool", 100.0, 1000.0)
    assert bool(result.plain.broken.any())
    for scale in (100.0, 1000.0):
        assert torch.equal(result.scaled[scale].broken, result.plain.broken)
        assert bool(result.kept(scale).all())


def test_cross_entropy_stands_still() -> None:
    result = _scaling("pgd", 1000.0)
    rescued = ~result.kept(1000.0)
    assert int(rescued.sum()) >= 5
    assert torch.equal(rescued, result.plain.broken & ~result.scaled[1000.0].broken)


def test_a_scale_of_one_changes_nothing() -> None:
    result = _scaling("pgd", 1.0)
    assert torch.equal(result.scaled[1.0].broken, result.plain.broken)


def test_a_scale_that_changes_decisions_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"scales > 0.*got -1"):
        _scaling("pgd", -1.0)
