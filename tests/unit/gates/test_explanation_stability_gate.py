"""The gate on the stability of explanations from end to end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_models import CurvedModel, LinearModel, classify, convolved, make_images
from tiny_onnx import export
from torch import nn

from fgmf.errors import InvalidGateFile
from fgmf.gates import ExplanationStabilityGate, RunContext
from fgmf.reporting import render_details, render_headline
from fgmf.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from pathlib import Path

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


def check(model: nn.Module | Path | None = None, *, pixels: Any = None, **gate: Any) -> Verdict:
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
    for population in ("distribution", "dataset"):
        few = check(CurvedModel(3), pixels=make_images(5), population=population)
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


def test_random_corners_alone_are_asked_for_or_an_error(tmp_path: Path) -> None:
    """An ONNX file has no gradients to walk along, and corners find next to nothing."""
    pixels = make_images(COUNT, margin=0.1)
    path = export(LinearModel(3), tmp_path / "m.onnx", pixels[:3], names=["z"], fixed=False)
    blind = {"explainer": {"name": "occlusion", "grid": 4}, "min_adversarial_similarity": -0.5}
    blind |= {"noise": None, "min_noise_similarity": None}
    verdict = check(path, pixels=pixels, **blind)
    assert verdict.outcome is Outcome.ERROR
    assert "random corners of the ball alone find little" in verdict.reason
    assert "random_corners_alone = true" in verdict.reason
    assert verdict.cost.forward_passes < COUNT * 16  # nothing was explained
    accepted = check(path, pixels=pixels, **blind, random_corners_alone=True)
    assert accepted.outcome is Outcome.PASS, accepted.reason
    assert "Linf eps 4/255 (random corners alone)" in render_headline(accepted)
    assert set(accepted.evidence["worst_candidates"]) <= {"corner 1", "corner 2"}
    noise = {"epsilon": None, "min_adversarial_similarity": None}
    assert check(path, pixels=pixels, **noise, explainer=blind["explainer"]).outcome is Outcome.PASS


def test_leave_to_use_corners_changes_nothing_where_there_are_gradients() -> None:
    verdict = check(random_corners_alone=True)
    assert verdict.outcome is Outcome.PASS
    assert "alone" not in render_headline(verdict)
    usual = check()
    assert verdict.evidence["worst_candidates"] == usual.evidence["worst_candidates"]


class OneLogit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = LinearModel(2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.inner(images)
        return logits[:, :1] - logits[:, 1:]


def test_the_missing_logit_of_a_single_logit_model_is_named() -> None:
    pixels = make_images(COUNT)
    verdict = check(OneLogit(), pixels=pixels)
    assert verdict.outcome is Outcome.ERROR
    assert "expected a logit of its own for each class, got a single one" in verdict.reason
    log_odds = check(OneLogit(), pixels=pixels, explainer="gradient")
    assert log_odds.outcome is Outcome.PASS, log_odds.reason


def test_similarities_of_one_leave_room_for_opposite_maps() -> None:
    """30 maps that never change: a similarity of .9 on the mean could still be missed."""
    verdict = check(min_noise_similarity=0.8, min_adversarial_similarity=-0.5)
    condition = verdict.conditions[0]
    assert condition.measured == pytest.approx(1.0)
    assert condition.interval is not None
    # A share of .025^(1/30) is the least that 30 of 30 leave; the rest may be opposite maps:
    # 2 * .025^(1/30) - 1
    assert condition.interval.lower == pytest.approx(0.7686, abs=1e-3)
    assert condition.outcome is Outcome.INCONCLUSIVE


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


def test_pictures_show_explanations_before_and_after() -> None:
    model = CurvedModel(3)
    verdict = check(model, explainer="gradient-times-input", pictures=3)
    (picture,) = verdict.evidence["pictures"]
    assert picture["columns"] == [
        *("image", "least similar neighbour", "change, amplified", "explanation before", "after")
    ]
    assert len(picture["rows"]) == 3
    before, after = picture["rows"][0]["tiles"][:2]
    assert before != after
    noise = {"epsilon": None, "min_adversarial_similarity": None}
    (maps,) = check(model, explainer="gradient-times-input", **noise).evidence["pictures"]
    assert maps["columns"] == ["image", "map", "overlay"]
    stages = check(convolved(), explainer="pgca", **noise).evidence["pictures"][1]
    assert stages["columns"][0] == "image"
    assert {"zero-occlusion", "grad-cam-plus-plus"} <= set(stages["columns"])
    assert len(stages["rows"][0]["tiles"]) == len(stages["columns"]) >= 1 + 5


@pytest.mark.parametrize("hidden", [{"pictures": 0}, {"save_failures": False}])
def test_confidential_images_are_not_shown(hidden: dict[str, Any]) -> None:
    assert check(**hidden).evidence["pictures"] == []


def test_the_neighbour_that_is_shown_is_the_least_similar_one() -> None:
    from fgmf.attribution.building import explainer
    from fgmf.faithfulness.similarity import map_similarity
    from fgmf.faithfulness.stability import StabilityPlan, measure_stability

    subject = classify(CurvedModel(3))
    images = make_images(8, margin=0.1)
    plan = StabilityPlan(similarity="cosine", epsilon=0.05, steps=3, keep=8)
    method = explainer("gradient-times-input", {})
    keys = [str(at) for at in range(8)]
    found = measure_stability(method, subject, images, plan, keys=keys)
    assert found.kept is not None
    assert found.kept.maps is not None
    again = map_similarity("cosine", found.kept.explained.maps, found.kept.maps)
    assert again == pytest.approx(found.adversarial)
    candidates = found.kept.candidates
    assert candidates is not None
    assert float((candidates - images).abs().max()) <= 0.05 + 1e-6  # float32 rounding
