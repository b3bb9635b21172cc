"""The faithfulness gate from end to end: each outcome for its reason, the same one every time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_models import PIXELS, LinearModel, classify, make_images
from torch import nn

from fgmf.canonical import canonical_json
from fgmf.errors import InvalidGateFile
from fgmf.gates import FaithfulnessGate, RunContext
from fgmf.reporting import render_details, render_headline
from fgmf.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from fgmf.gates import Progress

PASS, FAIL, OPEN, ERROR = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.ERROR
COUNT = 40


class Spots(nn.Module):
    """Three classes, each lit by four pixels in a corner; the rest of the image is noise."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.zeros(3, 8, 8)
        weight[0, :2, :2] = weight[1, :2, 6:] = weight[2, 6:, :2] = 2.0
        self.linear = nn.Linear(PIXELS, 3)
        with torch.no_grad():
            self.linear.weight.copy_(weight.flatten(1))
            self.linear.bias.zero_()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.linear(images.flatten(1))


def spots() -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = make_images(COUNT) * 0.4, torch.arange(COUNT) % 3
    for image, label in zip(images, labels.tolist(), strict=True):
        rows = slice(6, 8) if label == 2 else slice(0, 2)
        columns = slice(6, 8) if label == 1 else slice(0, 2)
        image[0, rows, columns] = 1.0
    return images, labels


def check(
    model: Any = None,
    *,
    context: dict[str, Any] | None = None,
    classifier: dict[str, Any] | None = None,
    data: Any = None,
    **gate: Any,
) -> Verdict:
    """Check a gate on spots: gradient times input, whose map is exact."""
    images, labels = spots() if data is None else data
    subject = classify(Spots() if model is None else model, **(classifier or {}))
    settings = {"explainer": "gradient-times-input", "min_margin": 0.01}
    settings |= {"waive": ("too-few-images", "normalisation-missing", "clean-accuracy-at-chance")}
    context = context or {}
    return FaithfulnessGate(**{**settings, **gate}).check(
        subject, images, labels, context=RunContext(**context)
    )


def document(verdict: Verdict) -> dict[str, Any]:
    return {key: value for key, value in verdict.as_document().items() if key != "cost"}


def test_maps_that_say_what_the_model_uses_pass() -> None:
    verdict = check()
    assert verdict.outcome is PASS, verdict.reason
    assert [c.quantity for c in verdict.conditions] == ["deletion_margin", "insertion_margin"]
    assert [c.subject for c in verdict.conditions] == ["mean", "mean"]
    rows = verdict.evidence["comparisons"]
    for row, condition in zip(rows, verdict.conditions, strict=True):
        margins = {one["name"]: one["margin"] for one in row["references"]}
        assert set(margins) == {"random", "centre", "edges", "randomised-model"}
        assert condition.measured == pytest.approx(min(margins.values()))
        assert len(row["scores"]) == COUNT
    assert verdict.cost.forward_passes > 0


def test_maps_no_better_than_references_fail() -> None:
    verdict = check(explainer="gradient", min_margin=0.4)
    assert verdict.outcome is FAIL
    assert verdict.reason == "deletion_margin is below its threshold"
    headline = render_headline(verdict)
    assert headline.startswith("faithfulness: deletion margin (mean) ")
    assert " < 0.40 required (" in headline
    assert "Gradient of the predicted class over random, centre, edges" in headline
    details = render_details(verdict)
    assert "mean scores (margin over the reference; images on which it is beaten):" in details
    assert "Deletion (mean; less is better)" in details


def test_maps_that_a_metric_cannot_tell_from_a_reference_are_no_evidence() -> None:
    """Answers that no pixel moves: a margin of 0 on every image, which 0 would be enough for."""
    model = Spots()
    with torch.no_grad():
        model.linear.weight.mul_(1e-18)
    verdict = check(model, min_margin=0.0)
    assert verdict.outcome is ERROR
    assert "to tell the maps from those of the reference random" in verdict.reason
    assert check(model, min_margin=0.2).outcome is FAIL


def test_few_images_do_not_decide() -> None:
    measured = check(metrics="deletion").conditions[0].measured
    verdict = check(metrics="deletion", images=12, min_margin=measured)
    assert verdict.outcome is OPEN
    assert "contains its threshold; more images decide" in verdict.reason


def test_scores_have_directions() -> None:
    verdict = check(
        min_margin=None,
        metrics=(
            {"name": "deletion", "max_score": 0.5},
            {"name": "insertion", "min_score": 0.5},
            {"name": "faithfulness-correlation", "min_score": 0.9, "nr_runs": 30},
        ),
    )
    assert verdict.outcome is PASS, render_details(verdict)
    assert [c.direction for c in verdict.conditions] == ["at-most", "at-least", "at-least"]
    assert verdict.direction == "at-most"
    assert verdict.evidence["replaced_reference_maps"] == {}
    assert all(row["references"] == [] for row in verdict.evidence["comparisons"])
    worse = check(min_margin=None, metrics={"name": "deletion", "max_score": 0.1})
    assert worse.outcome is FAIL
    assert worse.reason == "deletion is above its threshold"
    assert "> 0.10 allowed" in render_headline(worse)


def test_each_replacement_is_a_condition_of_its_own() -> None:
    verdict = check(metrics="insertion", replacements=("zero", "blur", "other-image"))
    assert [c.subject for c in verdict.conditions] == ["zero", "blur", "other-image"]
    assert [row["replacement"] for row in verdict.evidence["comparisons"]] == [
        "zero",
        "blur",
        "other-image",
    ]


def test_metrics_that_explain_again_have_scores_without_references() -> None:
    verdict = check(
        metrics=("deletion", {"name": "avg-sensitivity", "max_score": 5.0, "nr_samples": 2})
    )
    assert verdict.outcome is PASS, verdict.reason
    assert [c.quantity for c in verdict.conditions] == ["deletion_margin", "avg_sensitivity"]
    assert verdict.conditions[1].subject == ""


def test_a_verdict_depends_on_the_seed_alone() -> None:
    first = check(replacements=("noise",))
    assert document(first) == document(check(replacements=("noise",)))
    small = check(replacements=("noise",), classifier={"batch_size": 3})
    for one, other in zip(first.conditions, small.conditions, strict=True):
        # Rounding inside the model, which sees other batches.
        assert one.measured == pytest.approx(other.measured, abs=1e-6)
    assert document(first) != document(check(replacements=("noise",), seed=3))
    assert canonical_json(first.evidence)
    assert Verdict.from_document(json.loads(json.dumps(first.as_document()))) == first


def test_exactly_these_images_have_exact_means() -> None:
    verdict = check(population="dataset", images="all")
    for condition in verdict.conditions:
        assert condition.interval is not None
        assert condition.interval.lower == condition.interval.upper == condition.measured
        assert condition.interval.method == "exact mean"


def test_time_that_runs_out_never_passes() -> None:
    verdict = check(max_seconds=1e-9)
    assert verdict.outcome is OPEN
    assert "max_seconds ran out" in verdict.reason
    assert [c.measured for c in verdict.conditions] == [None, None]
    assert render_headline(verdict)
    assert render_details(verdict)


def test_progress_is_told() -> None:
    seen: list[Progress] = []
    check(context={"on_progress": seen.append})
    assert [p.done for p in seen] == list(range(1, 11))
    assert {p.total for p in seen} == {10}


class NanOnDark(Spots):
    """NaN where much is removed."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        dark = (images == 0).flatten(1).sum(dim=1) > 20
        return super().forward(images) + torch.where(dark, torch.nan, 0.0)[:, None]


class RaisesOnDark(Spots):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if bool(((images == 0).flatten(1).sum(dim=1) > 20).any()):
            raise ZeroDivisionError("in the model")
        return super().forward(images)


class Opaque(Spots):
    """The gradient is cut."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images.round(decimals=1).detach())


def opaque_call(images: torch.Tensor) -> torch.Tensor:
    """A model that is no module."""
    return Spots()(images)


@pytest.mark.parametrize(
    ("model", "gate", "reason"),
    [
        (NanOnDark(), {"replacements": ("zero",)}, "NaN or infinity for a variant of image"),
        (Opaque(), {}, "gradient"),
        (opaque_call, {}, "leave out the reference randomised-model"),
        (Spots(), {"metrics": {"name": "faithfulness-correlation", "subset_size": 64}}, "below"),
        (
            Spots(),
            {
                "min_margin": None,
                "metrics": {"name": "infidelity", "max_score": 1.0},
                "replacements": "inpainting",
            },
            "expected a replacement that Quantus can be given",
        ),
    ],
)
def test_what_cannot_be_measured_is_an_error(model: Any, gate: dict[str, Any], reason: str) -> None:
    verdict = check(model, **gate)
    assert verdict.outcome is ERROR
    assert reason in verdict.reason


def test_maps_that_say_nothing_are_errors() -> None:
    images, labels = spots()
    images[5] = 0.0
    verdict = check(data=(images, labels), explainer="gradient-times-input")
    assert verdict.outcome is ERROR
    assert "expected maps that deletion has a score for" in verdict.reason
    assert "for image 5 (1 of 40 images)" in verdict.reason


def test_no_images_and_too_few_are_errors() -> None:
    images, labels = spots()
    verdict = check(data=(images[:0], labels[:0]))
    assert verdict.outcome is ERROR
    few = check(data=(images[:6], labels[:6]))
    assert few.outcome is ERROR
    assert "at least 10 images, got 6" in few.reason
    these = check(data=(images[:6], labels[:6]), population="dataset")
    assert these.outcome is ERROR
    assert "at least 10 images, got 6" in these.reason


def test_an_error_of_the_model_in_the_middle_is_not_a_verdict() -> None:
    with pytest.raises(ZeroDivisionError):
        check(RaisesOnDark(), replacements=("zero",))


def test_the_label_can_be_explained() -> None:
    verdict = check(target="label")
    assert "of the label over" in render_headline(verdict)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"min_margin": None}, "metrics: expected a min_margin (or a min_score or max_score"),
        ({"metrics": ("deletion", "deletion")}, "each metric once under each replacement"),
        ({"metrics": "faith"}, "the name of a metric, one of"),
        ({"metrics": "pointing-game"}, "the name of a metric, one of"),
        ({"metrics": ()}, "at least 1 entries"),
        ({"metrics": {"name": "deletion", "min_score": 0.1}}, "max_score, for less of it is"),
        ({"metrics": {"name": "insertion", "max_score": 0.1}}, "min_score, for more of it is"),
        ({"metrics": {"name": "deletion", "stepz": 3}}, "the key steps"),
        ({"metrics": {"name": "deletion", "steps": 0}}, "a whole number >= 1"),
        (
            {"metrics": {"name": "sparseness", "replacements": ["mean"]}},
            "none, for sparseness removes no pixels",
        ),
        (
            {"metrics": {"name": "mprt", "min_margin": 0.1, "max_score": 1.0}},
            "none, for references have no explainer",
        ),
        ({"metrics": "max-sensitivity"}, "a min_margin (or a min_score or max_score"),
        ({"metrics": "deletion", "min_score": 0.9}, "min_score: expected max_score, for less"),
        ({"metrics": "insertion", "max_score": 0.1}, "max_score: expected min_score, for more"),
        (
            {"metrics": "max-sensitivity", "max_score": 9.0},
            "min_margin: expected none, for references have no explainer",
        ),
        ({"references": ()}, "at least one, for min_margin"),
        ({"references": ("edges", "edges")}, "each entry once"),
        ({"replacements": ("mean", "grey")}, "'zero', 'mean'"),
        ({"explainer": "gradients"}, "the name of an explainer, one of"),
        ({"explainer": {"name": "gradient", "output": "odds"}}, "one of log-odds"),
        ({"explainer": {"name": "gradient", "put": 1}}, "the key output"),
        ({"images": 0}, "a whole number >= 1"),
    ],
)
def test_wrong_specifications_are_refused(values: dict[str, Any], problem: str) -> None:
    settings = {"explainer": "gradient", "min_margin": 0.1}
    with pytest.raises(InvalidGateFile) as caught:
        FaithfulnessGate(**{**settings, **values})
    assert problem in str(caught.value)


def test_linear_models_are_the_same_in_any_order() -> None:
    """Another seed for the sample takes other images; the same images give the same scores."""
    images, labels = make_images(30), torch.arange(30) % 3
    model = LinearModel(3)
    verdict = check(model, data=(images, labels), images="all", metrics="deletion")
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    turned = check(model, data=(images[order], labels[order]), images="all", metrics="deletion")
    (row,), (other,) = verdict.evidence["comparisons"], turned.evidence["comparisons"]
    assert [row["scores"][at] for at in order.tolist()] == pytest.approx(other["scores"])
