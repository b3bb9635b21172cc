"""The gate on the stability of explanations from end to end."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import CurvedModel, LinearModel, classify, make_images
from torch import nn

from fgmf.errors import InvalidGateFile
from fgmf.gates import ExplanationStabilityGate, RunContext
from fgmf.reporting import render_details, render_headline
from fgmf.verdict import Outcome, Verdict

COUNT = 30
BOTH: dict[str, Any] = {
    "explainer": {"name": "gradient", "output": "logit"},
    "noise": 0.05,
    "min_noise_similarity": 0.5,
    "epsilon": "4/255",
    "min_adversarial_similarity": 0.5,
    "copies": 2,
    "corners": 2,
    "steps": 3,
    "waive": ("too-few-images", "normalisation-missing", "clean-accuracy-at-chance"),
}


def check(model: nn.Module | None = None, *, pixels: Any = None, **gate: Any) -> Verdict:
    subject = classify(LinearModel(3) if model is None else model)
    if pixels is None:
        pixels = make_images(COUNT, margin=0.1)
    with subject.guard():
        labels = subject.predict(pixels) if len(pixels) else torch.zeros(0, dtype=torch.int64)
    return ExplanationStabilityGate(**{**BOTH, **gate}).check(
        subject, pixels, labels, context=RunContext()
    )


def test_the_gradient_of_a_linear_model_is_stable() -> None:
    verdict = check()
    assert verdict.outcome is Outcome.PASS, verdict.reason
    quantities = [condition.quantity for condition in verdict.conditions]
    assert quantities == ["noise_similarity", "adversarial_similarity"]
    assert all(c.measured == pytest.approx(1.0) for c in verdict.conditions)
    headline = render_headline(verdict)
    assert headline.startswith("explanation-stability: noise similarity 1.000 ")
    assert "spearman of Gradient; noise 0.05, Linf eps 4/255" in headline
    details = render_details(verdict)
    assert "similarity of maps (spearman):" in details
    assert "within epsilon 0.0157: mean 1.000, lowest image 1.000" in details


def test_maps_that_change_fail() -> None:
    verdict = check(
        CurvedModel(3),
        explainer="gradient-times-input",
        noise=0.3,
        min_noise_similarity=0.99,
        epsilon=None,
        min_adversarial_similarity=None,
    )
    assert verdict.outcome is Outcome.FAIL
    assert verdict.reason == "noise_similarity is below its threshold"
    assert verdict.evidence["stability"][0]["lowest"] < 0.99
    assert len(verdict.evidence["stability"][0]["scores"]) == COUNT


def test_the_same_question_has_the_same_answer() -> None:
    def document(verdict: Verdict) -> dict[str, Any]:
        return {key: value for key, value in verdict.as_document().items() if key != "cost"}

    method = {"explainer": "gradient-times-input"}
    assert document(check(CurvedModel(3), **method)) == document(check(CurvedModel(3), **method))
    assert document(check(CurvedModel(3), **method)) != document(
        check(CurvedModel(3), **method, seed=4)
    )


def test_a_threshold_inside_the_interval_does_not_decide() -> None:
    method = {"explainer": "gradient-times-input", "images": 12}
    measured = check(CurvedModel(3), **method).conditions[0].measured
    verdict = check(CurvedModel(3), **method, min_noise_similarity=measured)
    assert verdict.outcome is Outcome.INCONCLUSIVE


class Opaque(LinearModel):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images.detach())


def test_what_cannot_be_measured_is_an_error() -> None:
    assert check(Opaque(3)).outcome is Outcome.ERROR
    few = check(CurvedModel(3), pixels=make_images(5))
    assert few.outcome is Outcome.ERROR
    assert "at least 10 images" in few.reason
    none = check(pixels=make_images(0))
    assert none.outcome is Outcome.ERROR
    images = make_images(COUNT, margin=0.1)
    images[3] = 0.0
    zero = check(
        pixels=images,
        explainer="gradient-times-input",
        noise=None,
        epsilon=0.01,
        min_noise_similarity=None,
    )
    assert zero.outcome is Outcome.ERROR
    assert "that can be compared by spearman" in zero.reason


class Steps(CurvedModel):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward((images * 16).round() / 16)


@pytest.mark.parametrize("model", [Opaque(3), Steps(3)])
def test_walks_without_a_gradient_are_no_evidence(model: nn.Module) -> None:
    """Whatever the explainer needs: corners alone are not what the threshold is about."""
    blind = {"explainer": {"name": "occlusion", "grid": 4}, "min_adversarial_similarity": -1.0}
    blind |= {"noise": None, "min_noise_similarity": None}
    verdict = check(model, **blind)
    assert verdict.outcome is Outcome.ERROR
    assert "gradient" in verdict.reason
    waived = [finding.name for finding in verdict.findings if finding.name.startswith("gradient")]
    again = check(model, **blind, waive=(*BOTH["waive"], *waived))
    assert again.outcome is Outcome.ERROR
    assert "gradient" in again.reason


def test_noise_that_changes_nothing_is_an_error() -> None:
    alone = {"epsilon": None, "min_adversarial_similarity": None}
    verdict = check(noise=1e-12, **alone)
    assert verdict.outcome is Outcome.ERROR
    assert "noise that changes every image" in verdict.reason


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"noise": None}, "noise: expected a size, for min_noise_similarity is given"),
        ({"min_noise_similarity": None}, "min_noise_similarity: expected a threshold, for noise"),
        ({"epsilon": None}, "epsilon: expected a size"),
        (
            {
                "noise": None,
                "min_noise_similarity": None,
                "epsilon": None,
                "min_adversarial_similarity": None,
            },
            "noise with min_noise_similarity, or epsilon with",
        ),
        ({"epsilon": "a/b"}, "epsilon"),
        ({"noise": 0.0}, "a number > 0"),
        ({"similarity": "l2"}, "'spearman', 'cosine' or 'ssim'"),
        ({"min_noise_similarity": 1.5}, "a number <= 1"),
    ],
)
def test_wrong_specifications_are_refused(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidGateFile) as caught:
        ExplanationStabilityGate(**{**BOTH, **values})
    assert problem in str(caught.value)
