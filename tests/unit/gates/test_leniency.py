"""Gates that nearly every model passes are said to be so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fgmf.attacks.plans import plan_attacks
from fgmf.gates.leniency import observe_leniency
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.verdict import Verdict

    Check = Callable[..., Verdict]


def names(threshold: float, *attacks: Any, gradient: bool = True, restarts: int = 1) -> set[str]:
    named = [(a, {}, None) if isinstance(a, str) else (a[0], a[1], None) for a in attacks]
    return {
        observation.name
        for observation in observe_leniency(
            threshold=threshold,
            class_sizes={0: 60, 1: 40},
            plans=plan_attacks(named, restarts=restarts),
            gradient_available=gradient,
        )
    }


@pytest.mark.parametrize(("threshold", "remark"), [(0.0, True), (0.6, True), (0.61, False)])
def test_a_threshold_that_a_constant_model_reaches(threshold: float, *, remark: bool) -> None:
    assert ("threshold-at-chance" in names(threshold, "pgd")) is remark


@pytest.mark.parametrize(
    ("attacks", "options", "remark"),
    [
        (["fgsm"], {}, True),
        ([("pgd", {"steps": 9})], {}, True),
        ([("pgd", {"steps": 10})], {}, False),
        ([("pgd", {"steps": 5})], {"restarts": 2}, False),
        ([("minimum-margin", {"steps": 5, "targets": 2})], {}, False),
        (["additive-noise"], {}, True),
        (["additive-noise"], {"gradient": False}, False),
    ],
)
def test_attacks_of_a_few_steps(
    attacks: list[Any], options: dict[str, Any], *, remark: bool
) -> None:
    assert ("attacks-weak" in names(0.9, *attacks, **options)) is remark


def test_the_remark_stands_beside_the_verdict(check: Check) -> None:
    verdict = check(min_robust_accuracy=0.0, attacks=("fgsm",), epsilon=0.001)
    assert verdict.outcome is Outcome.PASS
    remarks = {finding.name: finding.severity for finding in verdict.findings}
    assert remarks["threshold-at-chance"] == remarks["attacks-weak"] == "warning"
    honest = check(min_robust_accuracy=0.6, attacks=("pgd",), epsilon=0.001)
    assert not {"threshold-at-chance", "attacks-weak"} & {f.name for f in honest.findings}
    waived = check(min_robust_accuracy=0.0, waive=("threshold-at-chance",), epsilon=0.001)
    assert {f.name: f.waived for f in waived.findings}["threshold-at-chance"]
