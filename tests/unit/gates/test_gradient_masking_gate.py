"""The gradient-masking gate on digits: masked exactly where accuracy is an illusion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from fgmf.classifier import Classifier
from fgmf.errors import InvalidGateFile
from fgmf.gates import GradientMaskingGate, RunContext
from fgmf.reporting import render_details, render_headline
from fgmf.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fgmf.datasets import Samples

Change = "Callable[[torch.Tensor], torch.Tensor]"


class Wrapped(nn.Module):
    """A network with something done to its images or its logits."""

    def __init__(self, network: nn.Module, before: Any = None, after: Any = None) -> None:
        super().__init__()
        self.network, self.before, self.after = network, before, after

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        inside = images if self.before is None else self.before(images)
        logits = self.network(inside)
        return logits if self.after is None else self.after(logits)


def scaled(factor: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda logits: factor * logits


def check(
    model: nn.Module, samples: Samples, *, context: RunContext | None = None, **gate: Any
) -> Verdict:
    settings: dict[str, Any] = {"norm": "linf", "epsilon": 0.15, "images": 128, "suite": "quick"}
    classifier = Classifier(model, bounds=(0, 1), device="cpu")
    return GradientMaskingGate(**{**settings, **gate}).check(
        classifier, samples.images, samples.labels, context=context
    )


@pytest.mark.parametrize(
    ("factor", "finding"), [(1.0, "clean"), (10.0, "clean"), (100.0, "masked"), (1000.0, "masked")]
)
def test_scaled_logits_are_masked_exactly_where_accuracy_is_an_illusion(
    robust_digits_model: nn.Module, digits_test: Samples, factor: float, finding: str
) -> None:
    """The decisions are the same at every scale: only what PGD reports of them moves."""
    verdict = check(Wrapped(robust_digits_model, after=scaled(factor)), digits_test)
    assert verdict.evidence["masking"] == finding
    assert verdict.outcome is (Outcome.PASS if finding == "clean" else Outcome.FAIL)
    robust: Any = verdict.evidence["robust_accuracy"]
    assert 0.6 < robust < 0.8  # what the network itself is worth
    gaps: Any = verdict.evidence["gaps"]
    (iterative,) = [gap for gap in gaps if gap["naive"] == "PGD-40"]
    assert iterative["fooled"] == (finding == "masked")


def test_a_masked_verdict_says_what_was_fooled_and_how(
    standard_digits_model: nn.Module, digits_test: Samples, tmp_path: Path
) -> None:
    model = Wrapped(standard_digits_model, before=lambda images: images.detach())
    context = RunContext(failures_directory=tmp_path / "failures", root=tmp_path)
    verdict = check(model, digits_test, context=context)
    assert verdict.outcome is Outcome.FAIL
    line = render_headline(verdict)
    assert line.startswith("gradient-masking: masked: robust accuracy 0.")
    assert "under PGD-40 is 0." in line
    assert "> 0.05 allowed; blocked" in line
    details = render_details(verdict)
    assert "remedy: take detach" in details
    assert "! gradient-of-margin-zero" in details
    assert verdict.artifacts


def test_a_wrong_backward_pass_is_suspicious_where_nothing_is_left_to_hide(
    standard_digits_model: nn.Module, digits_test: Samples
) -> None:
    def masked(images: torch.Tensor) -> torch.Tensor:
        return images * (0.5 + images).clamp(0, 1).detach()

    model = Wrapped(standard_digits_model, before=masked)
    verdict = check(model, digits_test, epsilon=0.3)
    assert verdict.evidence["masking"] == "suspicious"
    assert verdict.outcome is Outcome.FAIL
    assert "gradient-untrue" in render_headline(verdict)
    warned = check(model, digits_test, epsilon=0.3, suspicious="warn")
    assert warned.outcome is Outcome.PASS
    assert "gradients-suspicious" in {finding.name for finding in warned.findings}


def test_noise_is_met_by_expectation_over_draws(
    standard_digits_model: nn.Module, digits_test: Samples
) -> None:
    def noisy(images: torch.Tensor) -> torch.Tensor:
        return images + 0.05 * torch.randn_like(images)

    verdict = check(Wrapped(standard_digits_model, before=noisy), digits_test)
    assert verdict.evidence["random_output"] is True
    assert verdict.evidence["masking"] == "clean"
    passes = verdict.cost.forward_passes + verdict.cost.backward_passes
    assert passes <= 5 * 80 * 128  # an honest model costs at most five PGD-40, draws or none


def test_an_infinite_slope_at_black_is_undone_just_inside(
    standard_digits_model: nn.Module, digits_test: Samples
) -> None:
    """x^.4^2.5 is x; at 0 its slope is infinity times zero, and an attack stays there."""
    verdict = check(
        Wrapped(standard_digits_model, before=lambda images: images.pow(0.4).pow(2.5)),
        digits_test,
    )
    assert verdict.evidence["masking"] == "masked"
    assert "just inside of the bounds" in render_headline(verdict)
    mechanisms: Any = verdict.evidence["mechanisms"]
    assert "exploding" in {row["name"] for row in mechanisms}


def test_squeezed_logits_are_masked_though_other_starts_would_close_the_gap(
    standard_digits_model: nn.Module, digits_test: Samples
) -> None:
    verdict = check(
        Wrapped(standard_digits_model, after=lambda z: 30 * nn.functional.softsign(8 * z)),
        digits_test,
        images="all",
    )
    assert verdict.evidence["masking"] == "masked"
    mechanisms: Any = verdict.evidence["mechanisms"]
    assert {row["name"] for row in mechanisms} == {"saturation"}


def test_the_same_seed_gives_the_same_verdict_in_other_batches(
    standard_digits_model: nn.Module, digits_test: Samples
) -> None:
    documents = []
    for size in (128, 37):
        classifier = Classifier(
            Wrapped(standard_digits_model, after=scaled(300.0)),
            bounds=(0, 1),
            device="cpu",
            batch_size=size,
        )
        gate = GradientMaskingGate(norm="linf", epsilon=0.15, images=64, suite="quick")
        verdict = gate.check(classifier, digits_test.images, digits_test.labels)
        documents.append((verdict.outcome, verdict.measured, verdict.evidence["masking"]))
    assert documents[0] == documents[1]


def test_too_few_images_decide_nothing(
    standard_digits_model: nn.Module, digits_test: Samples
) -> None:
    verdict = check(standard_digits_model, digits_test, images=5, waive=("too-few-images",))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "too few" in verdict.reason


def test_a_spent_budget_is_no_pass(robust_digits_model: nn.Module, digits_test: Samples) -> None:
    verdict = check(robust_digits_model, digits_test, max_seconds=1e-6)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "max_seconds" in verdict.reason


def test_a_callable_is_examined_without_its_modules(
    standard_digits_model: nn.Module, digits_test: Samples
) -> None:
    def rounded(images: torch.Tensor) -> torch.Tensor:
        return standard_digits_model((images * 8).round() / 8)

    classifier = Classifier(rounded, bounds=(0, 1), device="cpu")
    gate = GradientMaskingGate(norm="linf", epsilon=0.2, images=128, suite="quick")
    verdict = gate.check(classifier, digits_test.images, digits_test.labels)
    assert verdict.evidence["masking"] == "masked"


@pytest.mark.parametrize(
    ("field", "value"), [("epsilon", "eight"), ("min_gap", 1.5), ("suite", "strongest")]
)
def test_wrong_fields_are_named(field: str, value: Any) -> None:
    values: dict[str, Any] = {"norm": "linf", "epsilon": 0.1, field: value}
    with pytest.raises(InvalidGateFile, match=field):
        GradientMaskingGate(**values)
