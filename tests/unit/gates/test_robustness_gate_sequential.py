"""A gate that stops when its verdict is decided: sooner, and never on less than it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_models import LinearModel, make_images

from fgmf.reporting import render_headline
from fgmf.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    Check = Callable[..., Verdict]

PASS, FAIL, OPEN = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE
PIXELS = make_images(400, margin=0.02)
LABELS = LinearModel(3)(PIXELS).argmax(dim=1)


def sequential(check: Check, **options: Any) -> Verdict:
    settings = {"sequential": True, "images": 400, "attacks": ("fgsm", "pgd"), **options}
    return check(pixels=PIXELS, labels=LABELS, **settings)


def broken(verdict: Verdict) -> set[int]:
    return set(verdict.evidence["broken_images"])  # type: ignore[arg-type]


def test_a_clear_pass_takes_few_images_and_every_attack_on_each(check: Check) -> None:
    verdict = sequential(check, epsilon=0.002, min_robust_accuracy=0.6)
    assert verdict.outcome is PASS
    assert verdict.image_count in {32, 64}
    assert verdict.evidence["planned_images"] == 400
    assert verdict.evidence["undecided_images"] == []
    fgsm, pgd = verdict.evidence["attacks"]  # type: ignore[misc]
    assert fgsm["attacked"] - fgsm["broken"] == pgd["attacked"]  # type: ignore[index,call-overload,operator]
    assert f"n={verdict.image_count} of 400 planned" in render_headline(verdict)
    assert verdict.interval is not None
    assert verdict.interval.method == "anytime-valid beta-binomial"


def test_a_clear_fail_stops_at_the_cheap_attack(check: Check) -> None:
    verdict = sequential(check, epsilon=0.3, min_robust_accuracy=0.5, waive=())
    assert verdict.outcome is FAIL
    assert verdict.image_count == 32
    fgsm, pgd = verdict.evidence["attacks"]  # type: ignore[misc]
    assert fgsm["attacked"] == 32  # type: ignore[index,call-overload]
    assert pgd["attacked"] == 0  # type: ignore[index,call-overload]
    assert "below" in verdict.reason


def test_what_stays_open_uses_every_planned_image_and_says_what_a_fixed_gate_says(
    check: Check,
) -> None:
    fixed = check(
        pixels=PIXELS,
        labels=LABELS,
        images="all",
        attacks=("fgsm", "pgd"),
        epsilon=0.01,
        min_robust_accuracy=0.0,
    )
    assert fixed.measured is not None
    verdict = sequential(check, epsilon=0.01, min_robust_accuracy=fixed.measured)
    assert verdict.outcome is OPEN
    assert verdict.image_count == 400
    assert verdict.measured == fixed.measured
    assert broken(verdict) == broken(fixed)


def test_of_a_whole_set_the_answer_is_exact_in_the_end(check: Check) -> None:
    fixed = check(pixels=PIXELS, labels=LABELS, images="all", epsilon=0.01, min_robust_accuracy=0.0)
    assert fixed.measured is not None
    options = {"epsilon": 0.01, "population": "dataset", "attacks": ("pgd",)}
    reached = sequential(check, min_robust_accuracy=fixed.measured, **options)
    assert reached.outcome is PASS
    assert reached.image_count == 400
    missed = sequential(check, min_robust_accuracy=fixed.measured + 0.0025, **options)
    assert missed.outcome is FAIL


def test_the_images_are_drawn_at_random_by_the_seed_whatever_the_batch_size(check: Check) -> None:
    options = {"epsilon": 0.002, "min_robust_accuracy": 0.6, "save_failures": False}
    one = sequential(check, seed=1, **options)
    same = sequential(check, seed=1, classifier={"batch_size": 7}, **options)
    other = sequential(check, seed=2, **options)
    assert one.evidence == same.evidence
    assert one.evidence["data_digest"] != other.evidence["data_digest"]


def test_every_threshold_must_be_decided(check: Check) -> None:
    options = {"epsilon": 0.002, "min_robust_accuracy": 0.6}
    alone = sequential(check, **options)
    classes = sequential(check, min_worst_class_robust_accuracy=0.5, **options)
    assert (alone.outcome, classes.outcome) == (PASS, PASS)
    assert classes.image_count > alone.image_count
    clean = sequential(check, min_clean_accuracy=1.0, **options)
    assert clean.outcome is OPEN
    assert clean.image_count == 400


@pytest.mark.parametrize("seconds", [1e-6])
def test_time_that_runs_out_is_never_a_pass(check: Check, seconds: float) -> None:
    verdict = sequential(check, epsilon=0.002, min_robust_accuracy=0.1, max_seconds=seconds)
    assert verdict.outcome is OPEN
    assert "max_seconds" in verdict.reason


def test_an_image_that_an_attack_cannot_be_carried_out_on_is_no_pass(check: Check) -> None:
    model = LinearModel(3)

    class Raises(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            marked = (images == images.round()).flatten(1).float().mean(dim=1) > 0.9
            if images.requires_grad and bool(marked.any()):
                raise ValueError("marked")
            return model(images)

    pixels = PIXELS.clone()
    pixels[:] = torch.where(
        torch.arange(400).reshape(-1, 1, 1, 1) % 20 == 0, pixels.round(), pixels
    )
    labels = model(pixels).argmax(dim=1)
    verdict = check(
        Raises(),
        pixels=pixels,
        labels=labels,
        sequential=True,
        images=400,
        attacks=("deepfool",),
        epsilon=0.0005,
        min_robust_accuracy=0.5,
        waive=("gradient-blocked",),
    )
    assert verdict.outcome is Outcome.ERROR
    assert "could not be carried out" in verdict.reason
    assert verdict.image_count == 400
