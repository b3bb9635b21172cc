"""The repository's suite beside the naive attacks: as its robustness gate would run it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from fgmf.attacks.plans import plan_attacks
from fgmf.gradient_masking import suite_runs
from fgmf.gradient_masking.values import MaskingPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.gradient_masking.examined import Examined


@pytest.mark.parametrize(("random", "asked"), [(False, ["fgsm"]), (True, ["pgd"])])
def test_a_random_model_gets_the_attacks_that_are_planned_for_it(
    examined: Callable[..., Examined],
    monkeypatch: pytest.MonkeyPatch,
    *,
    random: bool,
    asked: list[str],
) -> None:
    names: list[str] = []

    class Idle:
        def run(self, batch: Any, *, restart: int) -> Any:
            return SimpleNamespace(adversarial=batch.images, failures={})

    def build(plan: Any, *_: Any, **__: Any) -> Idle:
        names.append(plan.name)
        return Idle()

    monkeypatch.setattr(suite_runs, "build_attack", build)
    subject = examined(random=random)
    plan = MaskingPlan(
        threat=subject.threat,
        suite=plan_attacks([("fgsm", {}, None)], restarts=1),
        random_suite=plan_attacks([("pgd", {}, None)], restarts=1),
    )
    with subject.classifier.guard():
        run = suite_runs.run_suite(subject, torch.ones(32, dtype=torch.float64), plan)
    assert names == asked
    assert bool((run.right == 1).all())
