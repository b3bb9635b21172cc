from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from fgmf.classifier import Classifier
from fgmf.preflight.behaviour import (
    difference,
    observe_batch_dependence,
    observe_repetition,
    observe_train_mode,
    repeat_forward,
)

if TYPE_CHECKING:
    from fgmf.preflight.policy import Observation

GENERATOR = torch.Generator().manual_seed(0)
WEIGHTS = torch.randn((12, 3), generator=GENERATOR)
IMAGES = torch.rand((24, 1, 3, 4), generator=GENERATOR)


def linear(images: torch.Tensor) -> torch.Tensor:
    return images.flatten(1) @ WEIGHTS


def classifier(model: Any) -> Classifier:
    return Classifier(model, bounds=(0, 1), device="cpu")


def repeated(model: Any) -> dict[str, Observation]:
    subject = classifier(model)
    with subject.guard():
        repetition = repeat_forward(subject, IMAGES, seed=0)
    return {o.name: o for o in observe_repetition(repetition, dtype=torch.float32)}


def rebatched(model: Any, images: torch.Tensor = IMAGES) -> dict[str, Observation]:
    subject = classifier(model)
    reference = subject.logits_in_batches(images)
    return {o.name: o for o in observe_batch_dependence(subject, images, reference, seed=0)}


class Counting(nn.Module):
    """Keeps something between passes; `effect` is what it does to the output."""

    def __init__(self, *, buffer: bool, effect: float) -> None:
        super().__init__()
        self.effect = effect
        self.count: Any = 0
        if buffer:
            del self.count
            self.register_buffer("count", torch.zeros(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.count += 1
        return linear(images) + self.effect * self.count * torch.eye(3)[0]


def test_an_honest_model_repeats_itself() -> None:
    assert repeated(linear) == {}
    assert repeated(nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Dropout(0.5))) == {}


@pytest.mark.parametrize("scale", [1e-2, 1.0])
def test_noise_from_the_global_generators_is_nondeterministic(scale: float) -> None:
    def by_torch(images: torch.Tensor) -> torch.Tensor:
        return linear(images + scale * torch.randn_like(images))

    def by_numpy(images: torch.Tensor) -> torch.Tensor:
        return linear(images) + scale * torch.from_numpy(np.random.randn(3)).float()  # noqa: NPY002

    for model in (by_torch, by_numpy):
        assert {n: o.severity for n, o in repeated(model).items()} == {
            "nondeterministic-output": "error"
        }


def test_noise_from_a_generator_of_its_own_is_hidden_state_too() -> None:
    own = torch.Generator().manual_seed(3)

    def model(images: torch.Tensor) -> torch.Tensor:
        return linear(images + torch.rand(images.shape, generator=own))

    assert set(repeated(model)) == {"nondeterministic-output", "forward-changes-state"}


@pytest.mark.parametrize("buffer", [True, False])
@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_state_that_changes_is_named_and_put_back(buffer: bool, effect: float) -> None:
    model = Counting(buffer=buffer, effect=effect)
    seen = repeated(model)["forward-changes-state"]
    assert seen.severity == "error"
    assert seen.evidence["changed"] == ["count"]
    assert model.count == 0


def test_hidden_state_of_a_callable_shows_by_call() -> None:
    calls = [0]

    def model(images: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        return linear(images) * calls[0]

    assert "no parameter or buffer" in repeated(model)["forward-changes-state"].message


def test_the_global_generators_are_as_before() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    repeated(lambda x: linear(x) + torch.rand(3))
    assert torch.equal(torch.rand(3), expected)


def test_train_mode_is_noted_with_the_names() -> None:
    (seen,) = observe_train_mode(["(model)", "0", "1", "2"])
    assert seen.severity == "note"
    assert "(model), 0, 1, …" in seen.message
    assert list(observe_train_mode([])) == []


def test_an_honest_model_does_not_look_at_its_batch() -> None:
    assert rebatched(linear) == {}
    assert rebatched(linear, IMAGES[:1]) == {}


@pytest.mark.parametrize(
    "model",
    [
        lambda x: linear(x - x.mean(dim=0, keepdim=True)),
        lambda x: linear(x).softmax(dim=0),
        lambda x: linear(x) / x.abs().max() if x.shape[0] % 2 else linear(x),
        lambda x: (
            nn.functional.batch_norm(linear(x), None, None, training=True)
            if x.shape[0] > 1
            else linear(x)
        ),
    ],
)
def test_looking_at_the_batch_is_an_error(model: Any) -> None:
    assert rebatched(model)["batch-dependent-output"].severity == "error"


def test_failing_on_a_single_image_is_batch_dependence() -> None:
    def squeezing(images: torch.Tensor) -> torch.Tensor:
        return linear(images).squeeze()

    seen = rebatched(squeezing)["batch-dependent-output"]
    assert seen.evidence["batch_size"] == 1
    assert "InvalidInput" in seen.message


def test_varying_classes_are_a_problem_of_the_output() -> None:
    seen = rebatched(lambda x: linear(x)[:, : 2 + (x.shape[0] > 1)])
    assert set(seen) == {"output-shape"}


def test_differences_are_relative_to_the_spread() -> None:
    logits = torch.tensor([[0.0, 10.0], [5.0, 5.0]])
    assert difference(logits, logits) == 0.0
    assert difference(logits, logits + 1) == pytest.approx(0.1)
    assert difference(100 * logits, 100 * (logits + 1)) == pytest.approx(0.1)
    assert difference(logits, logits * float("nan")) == float("inf")
    assert difference(torch.zeros(2, 2), torch.ones(2, 2)) > 1
