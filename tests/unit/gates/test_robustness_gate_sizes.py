"""The gate at the sizes that people have, grey and colour, on images in [0, 1] and [0, 255].

The network is a convolution with circular padding, global mean pooling and a linear layer: all
in all linear in the channel means, with the same gradient in every pixel. An image away from the
bounds is robust in Linf exactly if its margin exceeds epsilon times the 1-norm of the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image
from tiny_models import classify
from torch import nn

from fgmf.failures import load_failures
from fgmf.gates import RobustnessGate, RunContext
from fgmf.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from pathlib import Path

MEAN, STD = (124.0, 117.0, 131.0), (58.0, 57.0, 61.0)  # of images in [0, 255]
EPSILON = 8.0  # likewise
# Margin of each image as a multiple of what the adversary can take; rounding moves it by 1/16.
RATIOS = (1.4, 0.6, 1.6, 0.9, 2.0, 0.3, 1.5, 1.2)
ROBUST = [0, 2, 4, 6, 7]
BROKEN = [1, 3, 5]
# One step from a random start takes 3/4 of the reach on average, three whole steps take all.
BROKEN_BY = {"fgsm": 2, "pgd": 1}
ATTACKS = ("fgsm", {"name": "pgd", "steps": 3, "rel_stepsize": 1.0})

SIZES = [(1, 28, 28), (3, 32, 32), (3, 224, 224)]


class MeansModel(nn.Sequential):
    """Two classes, linear in the channel means."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, 4, 3, padding=1, padding_mode="circular", bias=False),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 2, bias=False),
        )
        generator = torch.Generator().manual_seed(channels)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
        self.eval()

    def weights(self) -> torch.Tensor:
        """(channels,) what a channel's mean adds to the logit of class 1 less that of class 0."""
        kernel, linear = (parameter.detach().double() for parameter in self.parameters())
        return (linear[1] - linear[0]) @ kernel.sum(dim=(2, 3))


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model, images, and what the closed form says about them."""

    model: MeansModel
    images: torch.Tensor
    labels: torch.Tensor
    bounds: tuple[float, float]
    normalize: dict[str, list[float]]
    epsilon: float
    ratios: torch.Tensor

    def check(self, *, threshold: float, root: Path) -> Verdict:
        classifier = classify(self.model, bounds=self.bounds, normalize=self.normalize)
        gate = RobustnessGate(
            norm="linf",
            epsilon=self.epsilon,
            min_robust_accuracy=threshold,
            attacks=ATTACKS,  # type: ignore[arg-type]
            images="all",
            population="dataset",
        )
        context = RunContext(failures_directory=root / "failures", root=root)
        return gate.check(classifier, self.images, self.labels, context=context)


def make_case(shape: tuple[int, ...], upper: float) -> Case:
    """Integers between 0 and 255, shifted channel by channel until the margins are as planned."""
    channels = shape[0]
    model, unit = MeansModel(channels), upper / 255
    mean, std = (torch.tensor(v[:channels], dtype=torch.float64) for v in (MEAN, STD))
    pull = model.weights() / std  # of one step of each channel's mean, in [0, 255]
    generator = torch.Generator().manual_seed(5)
    noise = torch.randint(-40, 41, (len(RATIOS), *shape), generator=generator).double()
    pixels = noise + mean.round().reshape(-1, 1, 1)
    sides = torch.tensor([1, -1]).repeat(len(RATIOS) // 2)
    planned = sides * torch.tensor(RATIOS) * EPSILON
    away = ((pixels.mean(dim=(2, 3)) - mean) @ pull) / pull.abs().sum()
    shift = (planned - away)[:, None] * pull.sign()
    pixels += shift.round()[:, :, None, None]
    assert float(pixels.min()) >= EPSILON
    assert float(pixels.max()) <= 255 - EPSILON
    margins = (pixels.mean(dim=(2, 3)) - mean) @ pull
    return Case(
        model=model,
        images=(pixels * unit).float(),
        labels=(margins > 0).long(),
        bounds=(0.0, upper),
        normalize={"mean": (mean * unit).tolist(), "std": (std * unit).tolist()},
        epsilon=EPSILON * unit,
        ratios=margins.abs() / (EPSILON * pull.abs().sum()),
    )


@pytest.fixture(scope="module", params=[1.0, 255.0], ids=["to-1", "to-255"])
def upper(request: pytest.FixtureRequest) -> float:
    return float(request.param)


@pytest.fixture(scope="module", params=SIZES, ids=lambda shape: "x".join(map(str, shape)))
def case(request: pytest.FixtureRequest, upper: float) -> Case:
    return make_case(request.param, upper)


def rows(verdict: Verdict, key: str) -> list[Any]:
    value = verdict.evidence[key]
    assert isinstance(value, list)
    return value


def test_the_images_are_what_the_closed_form_needs(case: Case) -> None:
    """No image so near its edge that rounding could decide, and the form is the network's own."""
    assert (case.ratios > 1).nonzero().flatten().tolist() == ROBUST
    assert torch.allclose(case.ratios, torch.tensor(RATIOS).double(), atol=1 / 16, rtol=0)
    if case.bounds[1] == 255:
        assert torch.equal(case.images, case.images.round())
    classifier = classify(case.model, bounds=case.bounds, normalize=case.normalize)
    pixels = case.images[:1].clone().requires_grad_()
    logits = classifier.logits(pixels)
    (logits[0, 1] - logits[0, 0]).backward()
    assert pixels.grad is not None
    reach = case.epsilon * float(pixels.grad.double().abs().sum())
    margin = abs(float((logits[0, 1] - logits[0, 0]).detach()))
    assert margin / reach == pytest.approx(float(case.ratios[0]), rel=1e-4)  # float32 sums


def test_it_passes_at_its_robust_accuracy(case: Case, tmp_path: Path) -> None:
    true = len(ROBUST) / len(RATIOS)
    verdict = case.check(threshold=true, root=tmp_path)
    assert verdict.outcome is Outcome.PASS, verdict.reason
    assert verdict.measured == true
    assert verdict.evidence["clean_accuracy"] == 1.0
    assert not [finding.name for finding in verdict.findings if finding.severity == "error"]
    assert verdict.artifacts == ()


def test_it_fails_just_above_and_shows_the_broken_images(case: Case, tmp_path: Path) -> None:
    verdict = case.check(threshold=(len(ROBUST) + 0.5) / len(RATIOS), root=tmp_path)
    assert verdict.outcome is Outcome.FAIL
    assert rows(verdict, "broken_images") == BROKEN
    assert verdict.evidence["verified"] == "3/3"
    assert {row["name"]: row["broken"] for row in rows(verdict, "attacks")} == BROKEN_BY

    saved = load_failures(tmp_path / "failures" / "robustness")
    assert sorted(saved.dataset_indices) == BROKEN
    assert torch.equal(saved.images, case.images[list(saved.dataset_indices)])
    assert saved.adversarial.shape == (len(BROKEN), *case.images.shape[1:])
    moved = float((saved.adversarial.double() - saved.images.double()).abs().max())
    # What is broken lies inside the ball, and used nearly all of it; float32 holds 1e-7 of 255.
    assert 0.99 * case.epsilon <= moved <= case.epsilon * (1 + 1e-6) + 1e-7 * case.bounds[1]
    picture = tmp_path / "failures" / "robustness" / "broken.png"
    assert picture.relative_to(tmp_path).as_posix() in verdict.artifacts
    with Image.open(picture) as grid:
        width, height = grid.size
        grid.load()
    # Image, adversarial image and perturbation of each, none of them shrunk.
    assert width * height >= 3 * len(BROKEN) * case.images[0, 0].numel()
