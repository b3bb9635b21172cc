"""The robustness gate from end to end: each outcome for its reason, the same one every time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tiny_models import ConvModel, CurvedModel, LinearModel, classify, make_images

from fgmf.canonical import canonical_json
from fgmf.gates import RobustnessGate
from fgmf.reporting import render_details, render_headline
from fgmf.seeding import derive_seed
from fgmf.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fgmf.datasets import Samples
    from fgmf.gates import Progress

    Check = Callable[..., Verdict]

PASS, FAIL, OPEN, ERROR = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.ERROR


def document(verdict: Verdict) -> dict[str, Any]:
    """Everything but the cost."""
    return {key: value for key, value in verdict.as_document().items() if key != "cost"}


def accuracy(check: Check, **options: Any) -> float:
    verdict = check(min_robust_accuracy=0.0, **options)
    assert verdict.measured is not None
    return verdict.measured


@pytest.mark.parametrize(
    ("epsilon", "threshold", "outcome"),
    [
        (0.002, 0.7, PASS),
        (0.2, 0.3, FAIL),
        (0.01, None, OPEN),
    ],
)
def test_the_interval_decides(
    check: Check, epsilon: float, threshold: float | None, outcome: Outcome
) -> None:
    threshold = accuracy(check, epsilon=epsilon) if threshold is None else threshold
    verdict = check(epsilon=epsilon, min_robust_accuracy=threshold)
    assert verdict.outcome is outcome
    assert verdict.passed is (outcome is PASS)
    assert verdict.threshold == threshold
    assert verdict.image_count == 60
    assert verdict.interval is not None
    assert verdict.measured is not None
    assert verdict.interval.lower <= verdict.measured <= verdict.interval.upper
    assert verdict.evidence["robust_accuracy"] == verdict.measured
    broken = verdict.evidence["broken_images"]
    assert isinstance(broken, list)
    assert verdict.measured == pytest.approx(1 - len(broken) / 60)
    assert verdict.evidence["verified"] == f"{len(broken)}/{len(broken)}"


def test_a_verdict_is_plain_data_that_can_be_shown(check: Check) -> None:
    for options in ({}, {"epsilon": 0.2}, {"max_seconds": 1e-9}, {"epsilon": 0.0}):
        verdict = check(**options)
        assert canonical_json(verdict.as_document())
        assert Verdict.from_document(verdict.as_document()) == verdict
        assert render_headline(verdict)
        assert render_details(verdict)


def test_passes_are_counted_and_time_is_taken(check: Check) -> None:
    verdict = check(epsilon=0.002, attacks=({"name": "bim", "steps": 3},))
    attacked = 60 * 3
    assert verdict.cost.backward_passes >= attacked
    # Preflight: at most 15 forward and 2 backward passes for each image.
    assert verdict.cost.backward_passes <= attacked + 2 * 60
    assert attacked + 60 <= verdict.cost.forward_passes <= attacked + (15 + 4) * 60
    assert verdict.cost.seconds > 0


@pytest.mark.parametrize("inconclusive", ["fail", "pass"])
def test_an_open_outcome_passes_only_where_the_user_says_so(
    check: Check, inconclusive: str
) -> None:
    verdict = check(min_robust_accuracy=accuracy(check), inconclusive=inconclusive)
    assert verdict.outcome is OPEN
    assert "interval" in verdict.reason
    assert verdict.passed is (inconclusive == "pass")


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_a_spent_budget_is_never_a_pass(check: Check, threshold: float) -> None:
    verdict = check(epsilon=0.002, min_robust_accuracy=threshold, max_seconds=1e-9)
    assert verdict.outcome is OPEN
    assert verdict.measured is None
    assert "max_seconds ran out with 60 images undecided" in verdict.reason
    assert verdict.evidence["robust_accuracy"] is None
    assert len(verdict.evidence["undecided_images"]) == 60  # type: ignore[arg-type]
    classes = verdict.evidence["per_class"]
    assert isinstance(classes, dict)
    assert {row["robust_accuracy"] for row in classes.values()} == {None}  # type: ignore[index,call-overload]


def test_a_spent_budget_can_be_a_fail(check: Check) -> None:
    """Half of the labels are wrong: not even a perfect defence would reach 0.9."""
    labels = LinearModel(3)(make_images(60, margin=0.02)).argmax(dim=1)
    labels[:30] = (labels[:30] + 1) % 3
    verdict = check(labels=labels, min_robust_accuracy=0.9, max_seconds=1e-9)
    assert verdict.outcome is FAIL
    assert verdict.reason == "robust_accuracy is below its threshold"


def test_clean_accuracy_can_fail_alone(check: Check) -> None:
    labels = LinearModel(3)(make_images(60, margin=0.02)).argmax(dim=1)
    labels[:12] = (labels[:12] + 1) % 3
    options: dict[str, Any] = {"labels": labels, "epsilon": 0.001, "min_robust_accuracy": 0.3}
    assert check(**options).outcome is PASS
    verdict = check(min_clean_accuracy=0.95, **options)
    assert verdict.outcome is FAIL
    assert verdict.reason == "clean_accuracy is below its threshold"
    assert [c.quantity for c in verdict.conditions] == ["robust_accuracy", "clean_accuracy"]
    assert verdict.conditions[1].measured == 0.8
    assert verdict.evidence["clean_accuracy"] == 0.8
    assert verdict.evidence["misclassified_images"] == list(range(12))


def test_the_worst_class_can_fail_alone(check: Check) -> None:
    images = make_images(60, margin=0.02)
    labels = LinearModel(3)(images).argmax(dim=1)
    wrong = (labels == 2).nonzero().flatten()
    labels[wrong[: len(wrong) * 3 // 4]] = 1
    classes = labels.tolist()
    verdict = check(
        labels=labels,
        epsilon=0.001,
        min_robust_accuracy=0.3,
        min_worst_class_robust_accuracy=0.9,
    )
    assert verdict.outcome is FAIL
    assert verdict.conditions[-1].subject == "class 1"
    rows = verdict.evidence["per_class"]
    assert isinstance(rows, dict)
    assert {name: row["images"] for name, row in rows.items()} == {  # type: ignore[index,call-overload]
        str(c): classes.count(c) for c in (0, 1, 2)
    }


def test_a_whole_dataset_is_judged_exactly(check: Check) -> None:
    share = accuracy(check)
    options: dict[str, Any] = {"population": "dataset", "images": "all"}
    verdict = check(min_robust_accuracy=share, **options)
    assert verdict.outcome is PASS
    assert verdict.interval is not None
    assert verdict.interval.lower == verdict.interval.upper == share
    assert check(min_robust_accuracy=share + 1e-3, **options).outcome is FAIL
    part = check(min_robust_accuracy=share, population="dataset", images=40)
    assert part.outcome is OPEN
    assert (part.image_count, part.evidence["dataset_size"]) == (40, 60)


def test_a_sample_is_stratified_and_drawn_by_the_seed(check: Check) -> None:
    digests = set()
    for seed in (0, 1):
        verdict = check(images=30, context={"run_seed": seed}, epsilon=0.2)
        assert verdict.seed == derive_seed(seed, "robustness")
        broken = verdict.evidence["broken_images"]
        assert isinstance(broken, list)
        assert len(set(broken)) == verdict.image_count == 30
        assert all(isinstance(at, int) and 0 <= at < 60 for at in broken)
        rows = verdict.evidence["per_class"]
        assert isinstance(rows, dict)
        labels = LinearModel(3)(make_images(60, margin=0.02)).argmax(dim=1).tolist()
        for name, row in rows.items():
            assert abs(row["images"] - labels.count(int(name)) / 2) < 1  # type: ignore[index,call-overload,operator]
        digests.add(verdict.evidence["data_digest"])
    assert len(digests) == 2


def test_name_run_seed_and_own_seed(check: Check) -> None:
    assert check(name="a").seed == derive_seed(0, "a")
    assert check(name="a").gate == "a"
    assert check(name="a", context={"run_seed": 4}).seed == derive_seed(4, "a")
    assert check(name="a", seed=9, context={"run_seed": 4}).seed == 9


@pytest.mark.parametrize("model", [ConvModel, lambda: CurvedModel(3)], ids=["conv", "curved"])
def test_the_same_seed_gives_the_same_document(check: Check, model: Callable[[], Any]) -> None:
    """At any batch size, with any number of threads, whatever state the global seeds are in."""
    images = make_images(60, margin=0.02)
    labels = model().eval()(images).argmax(dim=1)
    options: dict[str, Any] = {
        "images": 45,
        "epsilon": "4/255",
        "restarts": 2,
        "attacks": (
            "fgsm",
            {"name": "pgd", "steps": 10},
            {"name": "deepfool", "steps": 5},
            {"name": "additive-noise", "repeats": 5},
        ),
    }
    documents = []
    for number, (batch_size, threads) in enumerate([(64, 1), (7, 1), (500, 1), (64, 2)]):
        torch.manual_seed(number)
        torch.set_num_threads(threads)
        try:
            subject = dict(options.get("classifier", {}), batch_size=batch_size)
            documents.append(
                document(check(model(), images, labels, **options, classifier=subject))
            )
        finally:
            torch.set_num_threads(1)
    assert documents[0]["evidence"]["broken_images"]
    for other in documents[1:]:
        assert other == documents[0]


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_the_callers_gradient_mode_does_not_matter(check: Check, context: Any) -> None:
    model = LinearModel(3)
    expected = document(check(model, epsilon=0.05))
    with context():
        assert document(check(model, epsilon=0.05)) == expected
    assert expected["outcome"] == "fail"


def test_a_model_made_without_gradients_is_an_error(check: Check) -> None:
    with torch.inference_mode():
        model = LinearModel(3)
    verdict = check(model)
    assert verdict.outcome is ERROR
    assert "gradient-blocked" in verdict.reason
    assert model.weight.requires_grad


@pytest.mark.parametrize(
    "convert",
    [
        lambda images, labels: (images.numpy(), labels.numpy()),
        lambda images, labels: (images.double(), labels),
        lambda images, labels: (images.numpy().astype(np.float64), labels.numpy().astype("int32")),
        lambda images, labels: (images, labels.to(torch.int32)),
        lambda images, labels: (images.tolist(), labels.tolist()),
        lambda images, labels: (images, labels.to(torch.uint8)),
    ],
)
def test_images_and_labels_of_any_kind_are_the_same(check: Check, convert: Any) -> None:
    images = make_images(60, margin=0.02)
    labels = LinearModel(3)(images).argmax(dim=1)
    expected = check(pixels=images, labels=labels)
    other_images, other_labels = convert(images.clone(), labels.clone())
    before = [np.asarray(value).copy() for value in (other_images, other_labels)]
    subject = classify(LinearModel(3))
    gate = RobustnessGate(norm="linf", epsilon=0.01, min_robust_accuracy=0.5, attacks=("pgd",))
    verdict = gate.check(subject, other_images, other_labels)
    assert verdict.evidence["broken_images"] == expected.evidence["broken_images"]
    assert verdict.outcome is expected.outcome
    for value, old in zip((other_images, other_labels), before, strict=True):
        assert np.array_equal(np.asarray(value), old)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_double_precision_is_no_more_robust(check: Check, norm: str) -> None:
    """Adversarial examples lie on the edge of the ball, where rounding decides."""
    epsilon = {"linf": 0.01, "l2": 0.1, "l1": 0.7}[norm]
    options: dict[str, Any] = {"norm": norm, "epsilon": epsilon, "attacks": ("bim",)}
    single = check(min_robust_accuracy=0.0, **options)
    double = check(min_robust_accuracy=0.0, classifier={"dtype": "float64"}, **options)
    assert single.evidence["broken_images"]
    assert double.evidence["broken_images"] == single.evidence["broken_images"]
    assert double.evidence["unverified_images"] == []


def test_progress_is_reported_to_the_end(check: Check) -> None:
    seen: list[Progress] = []
    check(name="g", attacks=("fgsm", "bim"), context={"on_progress": seen.append})
    assert {progress.gate for progress in seen} == {"g"}
    assert (seen[-1].done, seen[-1].total) == (120, 120)
    assert {progress.stage for progress in seen} == {"FGSM", "BIM"}


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_without_attacks_and_suite_a_gate_runs_the_standard_suite(check: Check, norm: str) -> None:
    verdict = check(norm=norm, attacks=(), epsilon=0.01)
    assert verdict.evidence["suite"] == "standard"
    assert document(verdict) == document(check(norm=norm, attacks=(), suite="standard"))
    assert check(norm=norm).evidence["suite"] is None


def test_the_default_attacks_see_through_bounded_logits(
    standard_digits_model: torch.nn.Module, digits_test: Samples
) -> None:
    """Cross-entropy is nearly flat on them; the margin is not."""

    def bounded(images: torch.Tensor) -> torch.Tensor:
        return torch.tanh(0.5 * standard_digits_model(images))

    gate = RobustnessGate(norm="linf", epsilon=0.15, min_robust_accuracy=0.6, images=200)
    verdict = gate.check(classify(bounded), digits_test.images, digits_test.labels)
    assert verdict.outcome is FAIL, verdict.reason
    plain = gate.check(classify(standard_digits_model), digits_test.images, digits_test.labels)
    assert verdict.measured is not None
    assert plain.measured is not None
    assert verdict.measured <= plain.measured + 0.02


def test_a_verdict_outlives_a_directory_that_cannot_be_written(
    check: Check, tmp_path: Path
) -> None:
    blocked = tmp_path / ".fgmf"
    blocked.write_text("a file where a directory should be")
    verdict = check(epsilon=0.2, context={"failures_directory": blocked / "failures"})
    assert verdict.outcome is FAIL
    assert verdict.artifacts == ()
    assert "not saved: " in render_details(verdict)
    assert str(blocked) in render_details(verdict)
