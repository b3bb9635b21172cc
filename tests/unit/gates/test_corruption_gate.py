"""The corruption gate from end to end: each outcome for its reason, the same one every time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tiny_models import ConvModel, LinearModel, classify, make_images
from tiny_onnx import export

from fgmf.canonical import canonical_json
from fgmf.classifier import Classifier
from fgmf.corruptions import DEFAULT_CORRUPTIONS
from fgmf.errors import InvalidGateFile
from fgmf.failures import load_failures, replay
from fgmf.gates import CorruptionGate, RunContext
from fgmf.reporting import render_details, render_headline
from fgmf.seeding import derive_seed
from fgmf.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fgmf.datasets import Samples
    from fgmf.gates import Progress

PASS, FAIL, OPEN, ERROR = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.ERROR


def check(
    model: Any = None,
    pixels: Any = None,
    labels: Any = None,
    *,
    context: dict[str, Any] | None = None,
    classifier: dict[str, Any] | None = None,
    **gate: Any,
) -> Verdict:
    """Check a corruption gate; what is not given is a linear model that gets 60 images right."""
    subject = classify(LinearModel(3) if model is None else model, **(classifier or {}))
    if pixels is None:
        pixels = make_images(60, bounds=subject.bounds)
    if labels is None:
        labels = LinearModel(3)(torch.as_tensor(pixels).float()).argmax(dim=1)
    settings = {
        "min_corruption_accuracy": 0.3,
        "corruptions": ("gaussian-noise", "brightness"),
        "severities": (1, 3),
    }
    return CorruptionGate(**{**settings, **gate}).check(
        subject, pixels, labels, context=RunContext(**(context or {}))
    )


def document(verdict: Verdict) -> dict[str, Any]:
    """Everything but the cost."""
    return {key: value for key, value in verdict.as_document().items() if key != "cost"}


@pytest.mark.parametrize(
    ("options", "outcome", "reason"),
    [
        ({"severities": (1,)}, PASS, "every threshold is met"),
        (
            {"corruptions": ("translation",), "min_corruption_accuracy": 0.9},
            FAIL,
            "corruption_accuracy is below its threshold",
        ),
        (
            {"severities": (1,), "min_mean_corruption_accuracy": 1.0},
            FAIL,
            "mean_corruption_accuracy is below its threshold",
        ),
        (
            {"severities": (1,), "images": 4, "min_corruption_accuracy": 0.7},
            OPEN,
            "the interval of corruption_accuracy contains its threshold; more images decide",
        ),
    ],
)
def test_the_interval_decides(options: dict[str, Any], outcome: Outcome, reason: str) -> None:
    verdict = check(**options)
    assert (verdict.outcome, verdict.reason) == (outcome, reason)
    assert verdict.interval is not None
    assert verdict.measured == verdict.evidence["corruption_accuracy"]
    wrong = {*verdict.evidence["broken_images"], *verdict.evidence["misclassified_images"]}  # type: ignore[misc]
    assert verdict.measured == pytest.approx(1 - len(wrong) / verdict.image_count)
    assert verdict.seed == derive_seed(0, "corruption")


def test_a_wrong_clean_prediction_is_not_good() -> None:
    labels = LinearModel(3)(make_images(60)).argmax(dim=1)
    labels[:12] = (labels[:12] + 1) % 3
    verdict = check(labels=labels, severities=(1,), min_clean_accuracy=0.95)
    assert verdict.outcome is FAIL
    assert verdict.reason == "clean_accuracy is below its threshold"
    assert verdict.evidence["misclassified_images"] == list(range(12))
    assert verdict.measured is not None
    assert verdict.measured <= 0.8


def test_the_evidence_holds_accuracy_by_corruption_and_severity() -> None:
    verdict = check(min_mean_corruption_accuracy=0.1)
    rows: Any = verdict.evidence["corruptions"]
    assert [row["name"] for row in rows] == ["gaussian-noise", "brightness"]
    for row in rows:
        assert row["accuracy"] == pytest.approx(sum(row["by_severity"].values()) / 2)
        assert row["error"] == pytest.approx(1 - row["accuracy"])
        assert list(row["by_severity"]) == ["1", "3"]
    assert rows[0]["parameters"] == {"1": {"deviation": 0.04}, "3": {"deviation": 0.08}}
    mean: Any = verdict.evidence["mean_corruption_accuracy"]
    assert mean == pytest.approx(sum(row["accuracy"] for row in rows) / 2)
    assert verdict.conditions[1].measured == mean
    assert verdict.evidence["mean_corruption_error"] == pytest.approx(1 - mean)
    lines = render_details(verdict).splitlines()
    assert "accuracy by corruption (by severity):" in lines
    assert any(line.startswith("  brightness      0.") and "(1: 0." in line for line in lines)
    assert render_headline(verdict).startswith("corruption: 0.")
    assert "worst of Gaussian noise, brightness at severities 1, 3; n=60" in render_headline(
        verdict
    )


def test_a_verdict_is_plain_data_that_can_be_shown() -> None:
    for options in ({}, {"max_seconds": 1e-9}, {"corruptions": ("translation",)}, {"model": bool}):
        verdict = check(**options) if options != {"model": bool} else check(pixels=[[0.5]] * 60)
        assert canonical_json(verdict.as_document())
        assert Verdict.from_document(verdict.as_document()) == verdict
        assert render_headline(verdict)
        assert render_details(verdict)


@pytest.mark.parametrize("model", [ConvModel, lambda: LinearModel(3)], ids=["conv", "linear"])
def test_the_same_seed_gives_the_same_document(model: Callable[[], Any]) -> None:
    """At any batch size, with any number of threads, whatever state the global seeds are in."""
    images = make_images(60)
    labels = model().eval()(images).argmax(dim=1)
    options: dict[str, Any] = {
        "images": 45,
        "corruptions": DEFAULT_CORRUPTIONS,
        "min_mean_corruption_accuracy": 0.5,
    }
    documents = []
    for number, (batch_size, threads) in enumerate([(64, 1), (7, 1), (1, 1), (64, 2)]):
        torch.manual_seed(number)
        torch.set_num_threads(threads)
        try:
            subject = {"batch_size": batch_size}
            documents.append(
                document(check(model(), images, labels, classifier=subject, **options))
            )
        finally:
            torch.set_num_threads(1)
    assert documents[0]["evidence"]["broken_images"]
    for other in documents[1:]:
        assert other == documents[0]
    other_seed = document(check(model(), images, labels, context={"run_seed": 1}, **options))
    assert other_seed["evidence"] != documents[0]["evidence"]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.0])
def test_a_spent_budget_is_never_a_pass(threshold: float) -> None:
    verdict = check(min_corruption_accuracy=threshold, max_seconds=1e-9)
    assert verdict.outcome is OPEN
    assert verdict.measured is None
    assert "max_seconds ran out with 60 images undecided" in verdict.reason
    assert verdict.evidence["corruption_accuracy"] is None
    assert verdict.evidence["mean_corruption_accuracy"] is None
    assert len(verdict.evidence["undecided_images"]) == 60  # type: ignore[arg-type]


class Falters(LinearModel):
    """Raises or returns NaN where an image is nearly white."""

    def __init__(self, answer: float | None) -> None:
        super().__init__(3)
        self.answer = answer

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        white = images.flatten(1).amin(dim=1) > 0.28
        if self.answer is None and bool(white.any()):
            raise RuntimeError("too bright")
        logits = super().forward(images)
        return logits if self.answer is None else logits.masked_fill(white[:, None], self.answer)


@pytest.mark.parametrize("answer", [None, torch.nan])
def test_a_model_that_fails_on_corrupted_images_is_an_error(answer: float | None) -> None:
    images = make_images(60)
    images[:5] = 0.2 + 0.01 * images[:5]
    labels = LinearModel(3)(images).argmax(dim=1)
    options: dict[str, Any] = {"corruptions": ("brightness",), "min_corruption_accuracy": 0.0}
    verdict = check(Falters(answer), images, labels, **options)
    assert verdict.outcome is ERROR
    assert "could not be measured (first at brightness" in verdict.reason
    assert verdict.measured is None
    assert verdict.evidence["failed_images"]
    high = options | {"min_corruption_accuracy": 1.0, "corruptions": ("brightness", "translation")}
    assert check(Falters(answer), images, labels, **high).outcome is FAIL


def test_a_failure_on_a_broken_image_spoils_the_mean_alone() -> None:
    images = make_images(60)
    labels = LinearModel(3)(images).argmax(dim=1)
    images[:5], labels[:5] = 0.2 + 0.01 * images[:5], 2
    labels[:5] = (LinearModel(3)(images[:5]).argmax(dim=1) + 1) % 3
    verdict = check(Falters(torch.nan), images, labels, severities=(3,))
    assert set(verdict.evidence["failed_images"]) == set()  # type: ignore[arg-type]
    assert verdict.outcome is PASS
    asked = check(
        Falters(torch.nan), images, labels, severities=(3,), min_mean_corruption_accuracy=0.1
    )
    assert asked.outcome is ERROR


def test_nan_images_are_refused() -> None:
    images = make_images(60)
    labels = LinearModel(3)(images).argmax(dim=1)
    images[3, 0, 0, 0] = torch.nan
    verdict = check(pixels=images, labels=labels)
    assert verdict.outcome is ERROR
    assert "nan-images" in verdict.reason


def test_flat_vectors_are_refused_with_a_reason() -> None:
    images = make_images(60).flatten(1)
    labels = LinearModel(3)(images).argmax(dim=1)
    verdict = check(pixels=images, labels=labels)
    assert verdict.outcome is ERROR
    assert "(n, channels, height, width), got (60, 64)" in verdict.reason


def test_channels_that_no_jpeg_has_are_an_error() -> None:
    images = make_images(60, shape=(2, 8, 8))
    model = ConvModel(channels=2).eval()
    labels = model(images).argmax(dim=1)
    verdict = check(model, images, labels, corruptions=("jpeg",))
    assert verdict.outcome is ERROR
    assert "1 or 3 channels for jpeg, got 2" in verdict.reason


def test_no_gradient_is_needed(tmp_path: Path) -> None:
    images = make_images(60)
    module = ConvModel().eval()
    labels = module(images).argmax(dim=1)
    expected = check(module, images, labels)
    path = export(module, tmp_path / "m.onnx", images[:2], names=["logits"], fixed=False)
    options: dict[str, Any] = {
        "min_corruption_accuracy": 0.3,
        "corruptions": ("gaussian-noise", "brightness"),
    }

    def blocked(batch: torch.Tensor) -> torch.Tensor:
        return module(batch).detach()

    for model in (path, blocked):
        subject = Classifier(model, bounds=(0, 1), device="cpu")
        verdict = CorruptionGate(**options).check(subject, images, labels)
        assert verdict.outcome is expected.outcome, verdict.reason
        assert verdict.evidence["broken_images"] == expected.evidence["broken_images"]
        assert not [f for f in verdict.findings if f.severity == "error"]
        assert verdict.cost.backward_passes == 0


def test_other_types_of_images_see_the_same() -> None:
    options: dict[str, Any] = {"corruptions": ("brightness", "contrast", "gaussian-blur")}
    expected = check(**options).evidence["broken_images"]
    assert expected
    assert check(classifier={"dtype": "float64"}, **options).evidence["broken_images"] == expected
    pixels = make_images(60).numpy().astype(np.float64)
    assert check(pixels=pixels, **options).evidence["broken_images"] == expected


def test_evidence_is_saved_drawn_and_replayed(tmp_path: Path) -> None:
    context = {"failures_directory": tmp_path / "failures", "root": tmp_path}
    gate = {"corruptions": ("translation", "jpeg"), "min_corruption_accuracy": 0.9}
    verdict = check(**gate, context=context)
    assert verdict.outcome is FAIL
    names = [path.rpartition("/")[2] for path in verdict.artifacts]
    assert names == ["broken.png", "examples.npz", "repro.json"]
    saved = load_failures(tmp_path / "failures" / "corruption")
    assert set(saved.dataset_indices) <= set(verdict.evidence["broken_images"])  # type: ignore[arg-type]
    assert saved.recipe["specification"]["kind"] == "corruption"
    assert {name.split()[0] for name in saved.attack_names} <= set(gate["corruptions"])  # type: ignore[arg-type]
    again = replay(tmp_path / "failures" / "corruption", classify(LinearModel(3)))
    assert (again.outcome, again.measured) == (FAIL, 0.0)
    record = json.loads((tmp_path / "failures/corruption/repro.json").read_text())
    assert record["broken_count"] == len(verdict.evidence["broken_images"])  # type: ignore[arg-type]
    check(severities=(1,), name="corruption", context=context)
    assert not (tmp_path / "failures" / "corruption").exists()


def test_progress_is_reported_to_the_end() -> None:
    seen: list[Progress] = []
    check(name="g", context={"on_progress": seen.append})
    assert {progress.gate for progress in seen} == {"g"}
    assert (seen[-1].done, seen[-1].total) == (240, 240)
    assert [p.done for p in seen] == sorted(p.done for p in seen)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"corruptions": ["fog"]}, "corruptions[0]: expected 'gaussian-noise', 'shot-noise'"),
        ({"corruptions": []}, "corruptions: expected at least 1 entries"),
        ({"corruptions": ["jpeg", "jpeg"]}, "corruptions: expected each entry once"),
        ({"severities": [0]}, "severities[0]: expected 1, 2, 3, 4 or 5, got 0"),
        ({"severities": [True]}, "severities: expected whole numbers from 1 to 5, got (True,)"),
        ({"severities": []}, "severities: expected at least 1 entries"),
        ({"severities": [2, 2]}, "severities: expected each entry once"),
        ({"min_corruption_accuracy": 1.5}, "min_corruption_accuracy: expected a number <= 1"),
        ({"epsilon": 0.1}, "epsilon: expected one of the keys"),
    ],
)
def test_a_wrong_specification_says_what_is_allowed(changes: Any, problem: str) -> None:
    with pytest.raises(InvalidGateFile) as caught:
        CorruptionGate(**{"min_corruption_accuracy": 0.5, **changes})
    assert any(str(p).startswith(problem) for p in caught.value.problems), caught.value.problems


def test_adversarial_training_is_seen_as_what_it_is(
    standard_digits_model: torch.nn.Module,
    robust_digits_model: torch.nn.Module,
    digits_test: Samples,
) -> None:
    gate = CorruptionGate(
        min_corruption_accuracy=0.5,
        corruptions=("gaussian-noise", "impulse-noise", "contrast", "jpeg"),
        severities=(2, 4),
        images=200,
    )
    measured = {}
    for name, model in (("standard", standard_digits_model), ("robust", robust_digits_model)):
        verdict = gate.check(classify(model), digits_test.images, digits_test.labels)
        assert verdict.measured is not None, verdict.reason
        measured[name] = verdict.measured
    assert measured["robust"] > measured["standard"]
