"""The gate attack-selftest: working attacks pass, broken ones fail, doubt is no pass."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_models import ConvModel, classify, make_images, measure
from torch import nn

from fgmf.attacks.foolbox_bridge import AttackResult, FoolboxAttack
from fgmf.errors import InvalidGateFile
from fgmf.gates import AttackSelftestGate, RobustnessGate, RunContext
from fgmf.gates.attack_selftest_check import _Check
from fgmf.gates.robustness_attacks import gate_plans
from fgmf.reporting import render_details, render_headline
from fgmf.selftest import ScalingMeasurement
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.attacks.foolbox_bridge import AttackBatch
    from fgmf.datasets import Samples
    from fgmf.gates import Progress
    from fgmf.robustness import RobustnessMeasurement
    from fgmf.verdict import Verdict

IMAGES = make_images(40, margin=0.05)
LENIENT: dict[str, Any] = {
    # 40 images: the lower end of a perfect score is .91.
    "min_success": 0.9,
    "inner_points": 120,
    "scales": (),
    "waive": ("clean-accuracy-at-chance", "too-few-images", "normalisation-missing"),
}


def _check(
    model: nn.Module | None = None, *, context: dict[str, Any] | None = None, **gate: Any
) -> Verdict:
    classifier = classify(ConvModel() if model is None else model)
    with classifier.guard():
        labels = classifier.predict(IMAGES)
    settings = {"norm": "linf", "epsilon": 0.1, "attacks": ("pgd",), **LENIENT, **gate}
    return AttackSelftestGate(**settings).check(
        classifier, IMAGES, labels, context=RunContext(**(context or {}))
    )


def test_a_working_attack_passes_with_its_evidence() -> None:
    verdict = _check()
    assert verdict.outcome is Outcome.PASS, verdict.reason
    assert [condition.quantity for condition in verdict.conditions] == [
        "test_success",
        "beyond_random",
    ]
    assert verdict.measured == 1.0
    assert verdict.image_count == 40
    evidence = verdict.evidence
    assert evidence["features"] == "5"
    assert evidence["valid_count"] == 40
    assert evidence["random_search_success"] <= 0.2
    assert evidence["passes_per_image"] > 80
    assert evidence["missed_images"] == []
    assert render_headline(verdict).startswith("attack-selftest: 1.000 [")
    assert "broke 40 of 40 attacked" in render_details(verdict)


def test_an_attack_that_returns_the_clean_image_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def idle(_self: FoolboxAttack, batch: AttackBatch, *, restart: int) -> AttackResult:
        return AttackResult(adversarial=batch.images.cpu())

    monkeypatch.setattr(FoolboxAttack, "run", idle)
    verdict = _check()
    assert verdict.outcome is Outcome.FAIL
    assert verdict.measured == 0.0
    assert verdict.reason == "test_success is below its threshold"
    assert len(verdict.evidence["missed_images"]) == 40


def test_a_step_too_small_fails() -> None:
    verdict = _check(attacks=({"name": "pgd", "steps": 1, "rel_stepsize": 0.001},))
    assert verdict.outcome is Outcome.FAIL


def test_a_zero_gradient_is_measured_and_fails() -> None:
    """A robustness gate could not even be measured here."""

    class Rounded(ConvModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward((images * 16).round() / 16)

    verdict = _check(Rounded())
    assert verdict.outcome is Outcome.FAIL
    found = {finding.name: finding.severity for finding in verdict.findings}
    assert found["gradient-zero"] == "warning"


def test_an_attack_that_cannot_be_carried_out_is_an_error() -> None:
    class Cut(ConvModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images.detach())

    verdict = _check(Cut())
    assert verdict.outcome is Outcome.ERROR
    assert "could not be carried out on 40 images" in verdict.reason


def test_too_few_valid_images_decide_nothing() -> None:
    class Narrow(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            flat = images.flatten(1)
            return torch.stack([flat[:, ::2].sum(dim=1), flat[:, 1::2].sum(dim=1)], dim=1)

    verdict = _check(Narrow(), min_valid=1.0)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "a separating read-out was found for" in verdict.reason
    assert verdict.measured is None
    assert not verdict.passed


def test_without_any_valid_image_nothing_is_decided_whatever_is_asked() -> None:
    class Steps(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            step = images.flatten(1)[:, :8].mean(dim=1).mul(8).round() - 4
            return torch.stack([step, -step], dim=1)

    waive = ("epsilon-tiny", *LENIENT["waive"])
    verdict = _check(Steps(), min_valid=0.0, epsilon=1e-4, waive=waive)
    assert verdict.evidence, verdict.reason
    assert verdict.evidence["valid_count"] == 0
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "for 0 of 40 images only" in verdict.reason


@pytest.mark.parametrize("part", ["failed", "undecided"])
@pytest.mark.parametrize("where", ["plain", "scaled"])
def test_an_image_that_a_scale_could_not_be_measured_on_is_not_kept(part: str, where: str) -> None:
    classifier = classify(ConvModel())
    with classifier.guard():
        labels = classifier.predict(IMAGES)
    sure = measure(classifier, IMAGES, labels, epsilon=1e-4)
    assert not bool(sure.broken.any())
    doubtful = replace(sure, **{part: torch.ones_like(sure.broken)})  # type: ignore[arg-type]
    gate = AttackSelftestGate(norm="linf", epsilon=0.1)
    check = _Check(
        gate=gate, kind=gate.kind, threshold=0.9, classifier=classifier, context=RunContext()
    )

    def judged(plain: RobustnessMeasurement, scaled: RobustnessMeasurement) -> Outcome:
        measurement = ScalingMeasurement(plain=plain, scaled={10.0: scaled})
        (condition,) = check._scaling_conditions(measurement)
        return condition.outcome

    assert judged(sure, sure) is Outcome.PASS
    pair = (doubtful, sure) if where == "plain" else (sure, doubtful)
    assert judged(*pair) is Outcome.INCONCLUSIVE


def test_success_no_better_than_chance_fails() -> None:
    verdict = _check(min_beyond_random=1.0, min_success=0.5)
    assert verdict.conditions[0].outcome is Outcome.PASS
    # 1.0 is a bar that no interval reaches: shown as open, or missed, never met.
    assert verdict.outcome in {Outcome.INCONCLUSIVE, Outcome.FAIL}


def test_cross_entropy_fails_the_scaling_control_and_the_margin_passes_it() -> None:
    climbing = _check(scales=(1e6,), epsilon=0.05, max_rise=0.02)
    assert climbing.conditions[2].quantity == "kept_under_scaling"
    assert climbing.conditions[2].subject == "logits x 1e+06"
    assert climbing.outcome is Outcome.FAIL, climbing.conditions[2]
    margin = _check(scales=(1e6,), epsilon=0.05, attacks=("deepfool",), max_rise=0.1)
    assert margin.conditions[2].measured == 1.0
    assert margin.conditions[2].outcome is Outcome.PASS


def test_a_broken_certificate_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "fgmf.gates.attack_selftest_check.certified_images",
        lambda _classifier, images, *_: torch.ones(len(images), dtype=torch.bool),
    )
    verdict = _check()
    assert verdict.outcome is Outcome.ERROR
    assert "no attack to break an image that interval bounds certify" in verdict.reason


def test_certificates_are_part_of_the_evidence() -> None:
    assert _check(epsilon=3e-4).evidence["certified"] > 0.5

    class Opaque(ConvModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images) * 1

    assert _check(Opaque()).evidence["certified"] is None


def test_time_that_runs_out_is_inconclusive() -> None:
    verdict = _check(max_seconds=1e-6, min_valid=0.0)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "max_seconds ran out" in verdict.reason


def test_the_same_seed_gives_the_same_verdict() -> None:
    first, second = (_check(images=10, min_success=0.5) for _ in range(2))
    assert first.evidence == second.evidence
    assert first.conditions == second.conditions


def test_progress_is_told() -> None:
    seen: list[Progress] = []
    _check(images=5, context={"on_progress": seen.append})
    assert [(entry.done, entry.total) for entry in seen] == [(at, 5) for at in range(5)]


def test_it_is_made_of_a_robustness_gate() -> None:
    gate = RobustnessGate(
        name="robust",
        norm="l2",
        epsilon="1/2",
        min_robust_accuracy=0.4,
        attacks=("fgsm", {"name": "pgd", "steps": 7, "restarts": 2}),
        restarts=3,
        images=50,
        waive=("duplicate-images",),
    )
    made = AttackSelftestGate.of(gate)
    assert (made.name, made.kind, made.images) == ("robust", "attack-selftest", 200)
    assert made.attacks == gate.attacks
    back = made.attacked_gate()
    for key in ("norm", "epsilon", "attacks", "restarts", "waive", "criterion"):
        assert getattr(back, key) == getattr(gate, key)


def test_every_problem_of_a_specification_is_told() -> None:
    with pytest.raises(InvalidGateFile) as caught:
        AttackSelftestGate(norm="l1", epsilon=0, attacks=("deepfool",), scales=(0,))
    places = [problem.location for problem in caught.value.problems]
    assert places == ["epsilon", "scales[0]"]
    with pytest.raises(InvalidGateFile, match=r"attacks: expected attacks for norm 'l1'"):
        AttackSelftestGate(norm="l1", epsilon=1.0, attacks=("deepfool",))


@pytest.mark.parametrize("recipe", ["standard", "robust"])
def test_strong_attacks_pass_on_real_models(
    recipe: str, trained_digits: Callable[[str], nn.Module], digits_test: Samples
) -> None:
    gate = AttackSelftestGate(
        norm="linf",
        epsilon=0.15,
        attacks=("pgd", "deepfool"),
        images=40,
        min_success=0.9,
        scales=(),
    )
    classifier = classify(trained_digits(recipe))
    verdict = gate.check(classifier, digits_test.images, digits_test.labels)
    assert verdict.outcome is Outcome.PASS, verdict.reason


def test_on_a_random_model_a_suite_averages_over_draws_as_the_gates_own_does() -> None:
    class Shaken(ConvModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            noise: torch.Tensor = super().forward(images + 1e-3 * torch.randn_like(images))
            return noise

    waive = ("nondeterministic-output", *LENIENT["waive"])
    settings: dict[str, Any] = {"suite": "quick", "attacks": (), "images": 2, "waive": waive}
    draws = {}
    for name, model in (("steady", ConvModel()), ("random", Shaken())):
        verdict = _check(model, **settings)
        rows: Any = verdict.evidence["attacks"]
        draws[name] = [(row["name"], row["parameters"].get("draws")) for row in rows]
    expected = RobustnessGate(norm="linf", epsilon=0.1, min_robust_accuracy=0.0, suite="quick")
    for name, random_output in (("steady", False), ("random", True)):
        plans = gate_plans(expected, gradient_available=True, random_output=random_output)
        assert draws[name] == [(p.label, p.parameters.get("draws")) for p in plans]
    assert draws["steady"] != draws["random"]
