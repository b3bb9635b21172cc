"""Saved examples against the model as it is now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from fgmf.classifier import Classifier
from fgmf.failures import replay, save_failures
from fgmf.reporting import render_headline
from fgmf.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from pathlib import Path

EPSILON = 0.1


class Threshold(torch.nn.Module):
    """Class 1 above a brightness, class 0 below; class 2 is second everywhere."""

    def __init__(self, brightness: float) -> None:
        super().__init__()
        self.brightness = torch.nn.Parameter(torch.tensor(brightness))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        above = images.mean(dim=(1, 2, 3)) - self.brightness
        return torch.stack([-above, above, torch.zeros_like(above)], dim=1)


def classifier(model: Any, **settings: Any) -> Classifier:
    return Classifier(model, **({"bounds": (0, 1), "device": "cpu"} | settings))


def saved(directory: Path, count: int = 4, **specification: Any) -> Path:
    """Dark images (class 0) that +0.09 pushed over a threshold of 0.5."""
    images = torch.full((count, 1, 4, 4), 0.45)
    recipe: dict[str, Any] = {
        "specification": specification,
        "gate_seed": 5,
        "model_digest": classifier(Threshold(0.5)).state_digest(),
        "data_digest": "sha256:data",
        "threat": {"norm": "linf", "epsilon": EPSILON, "bounds": [0, 1]},
        "library_versions": {},
        "command": "fgmf check",
    }
    save_failures(
        directory,
        gate="robust",
        images=images,
        adversarial=images + 0.09,
        labels=[0] * count,
        predicted=[1] * count,
        dataset_indices=[10 + row for row in range(count)],
        attack_names=["pgd"] * count,
        recipe=recipe,
    )
    return directory / "robust"


def assert_error(verdict: Verdict, *words: str) -> None:
    assert verdict.outcome is Outcome.ERROR
    assert not verdict.passed
    assert verdict.measured is None
    headline = render_headline(verdict)
    assert headline.startswith("replay: not measured: ")
    for word in words:
        assert word in headline


def test_examples_that_still_break_the_model_fail(tmp_path: Path) -> None:
    model = Threshold(0.5).train()
    verdict = replay(saved(tmp_path), classifier(model))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.gate == "robust"
    assert verdict.measured == 0.0
    assert verdict.cost.forward_passes == 4
    assert verdict.evidence["broken_images"] == [10, 11, 12, 13]
    assert verdict.evidence["same_model"] is True
    assert model.training
    assert model.brightness.requires_grad
    assert render_headline(verdict) == (
        "replay: 4/4 saved examples still break the model; the attack was not repeated (this kind "
        "of gate recorded no attack) (Linf eps 0.1; n=4)"
    )
    assert verdict.reproduce == f"fgmf replay {tmp_path / 'robust'}"


def test_a_model_that_withstands_them_all_passes(tmp_path: Path) -> None:
    verdict = replay(saved(tmp_path), classifier(Threshold(0.6)))
    assert verdict.outcome is Outcome.PASS
    assert verdict.measured == 1.0
    assert verdict.evidence["same_model"] is False
    assert render_headline(verdict).startswith("replay: 0/4 saved examples still break the model")


def test_one_example_is_enough_to_fail(tmp_path: Path) -> None:
    directory = saved(tmp_path)

    def only_third(images: torch.Tensor) -> torch.Tensor:
        third = (torch.arange(len(images)) == 2).float()
        return torch.stack([1 - third, third], dim=1)

    verdict = replay(directory, classifier(only_third))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.measured == 0.75
    assert verdict.evidence["broken_images"] == [12]


def test_the_criterion_of_the_gate_judges(tmp_path: Path) -> None:
    model = classifier(Threshold(0.5))
    within_two = replay(saved(tmp_path / "a", criterion="top-k", top_k=2), model)
    assert within_two.outcome is Outcome.FAIL  # order 1, 2, 0: the label 0 is third

    def other(images: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[0.0, 1.0, 2.0]]).repeat(len(images), 1)

    directory = saved(tmp_path / "b", criterion="targeted", target=1)
    assert replay(directory, model).outcome is Outcome.FAIL
    assert replay(directory, classifier(other)).outcome is Outcome.PASS  # wrong, not the target


def test_evidence_that_was_changed_is_an_error(tmp_path: Path) -> None:
    directory = saved(tmp_path)
    with (directory / "examples.npz").open("ab") as stream:
        stream.write(b"x")
    assert_error(replay(directory, classifier(Threshold(0.6))), "digest differs", "run the gate")


def test_no_evidence_is_an_error(tmp_path: Path) -> None:
    assert_error(replay(tmp_path / "none", classifier(Threshold(0.6))), "expected a directory")


@pytest.mark.parametrize("bounds", [(0, 255), (-1, 1)])
def test_other_bounds_are_an_error(tmp_path: Path, bounds: tuple[int, int]) -> None:
    verdict = replay(saved(tmp_path), classifier(Threshold(0.6), bounds=bounds))
    assert_error(verdict, "bounds (0.0, 1.0)")


def test_examples_outside_the_ball_are_an_error(tmp_path: Path) -> None:
    images = torch.full((2, 1, 4, 4), 0.45)
    far = images.clone()
    far[1] += 0.2
    save_failures(
        tmp_path,
        gate="robust",
        images=images,
        adversarial=far,
        labels=[0, 0],
        predicted=[1, 1],
        dataset_indices=[0, 1],
        attack_names=["pgd", "pgd"],
        recipe={
            "specification": {},
            "gate_seed": 5,
            "model_digest": "",
            "data_digest": "",
            "threat": {"norm": "linf", "epsilon": EPSILON, "bounds": [0, 1]},
            "library_versions": {},
            "command": "",
        },
    )
    assert_error(replay(tmp_path / "robust", classifier(Threshold(0.6))), "1 of 2 outside")


def test_a_model_that_raises_is_an_error(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 3))
    assert_error(replay(saved(tmp_path), classifier(model)), "(4, 1, 4, 4)", "RuntimeError")


def test_not_a_number_is_an_error_and_no_pass(tmp_path: Path) -> None:
    assert_error(replay(saved(tmp_path), classifier(Threshold(float("nan")))), "finite logits")


def test_too_few_classes_are_an_error(tmp_path: Path) -> None:
    images = torch.full((1, 1, 4, 4), 0.45)
    recipe: dict[str, Any] = dict.fromkeys(
        ("specification", "gate_seed", "model_digest", "data_digest", "library_versions", "command")
    )
    save_failures(
        tmp_path,
        gate="robust",
        images=images,
        adversarial=images,
        labels=[7],
        predicted=[1],
        dataset_indices=[0],
        attack_names=["none"],
        recipe=recipe | {"threat": {"norm": "l2", "epsilon": 1, "bounds": [0, 1]}},
    )
    verdict = replay(tmp_path / "robust", classifier(Threshold(0.6)))
    assert_error(verdict, "more than 7 classes", "got 3")


def test_an_unknown_criterion_is_an_error(tmp_path: Path) -> None:
    verdict = replay(saved(tmp_path, criterion="vibes"), classifier(Threshold(0.6)))
    assert_error(verdict, "criterion", "vibes")
