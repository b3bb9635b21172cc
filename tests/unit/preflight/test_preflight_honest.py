"""Honest models raise no error: false alarms cost a gate as much trust as misses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from fgmf.classifier import Classifier
from fgmf.datasets import Samples
from fgmf.preflight import blocking, inspect
from fgmf.threat import ThreatModel

Wrap = Callable[[nn.Module], Callable[[torch.Tensor], Any]]


def errors(found: dict[str, Any]) -> set[str]:
    return {finding.name for finding in blocking(found.values())}


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.15), ("l2", 1.0), ("l1", 4.0)])
@pytest.mark.parametrize("name", ["standard", "robust", "with_batch_norm"])
def test_trained_models_are_silent_under_every_norm(
    name: str, norm: str, epsilon: float, request: Any, test_set: Samples, ask: Any
) -> None:
    model = request.getfixturevalue(name)
    assert ask(model, test_set, norm=norm, epsilon=epsilon) == {}


@pytest.mark.parametrize("seed", range(5))
def test_a_standard_model_is_silent_whichever_images_are_inspected(
    seed: int, standard: Any, test_set: Samples, ask: Any
) -> None:
    assert ask(standard, test_set, seed=seed) == {}


def test_dropout_in_eval_mode_is_silent(with_batch_norm: Any, test_set: Samples, ask: Any) -> None:
    assert any(isinstance(module, nn.Dropout) for module in with_batch_norm)
    assert ask(with_batch_norm, test_set) == {}


def test_log_softmax_is_only_a_note(standard: Any, test_set: Samples, ask: Any) -> None:
    found = ask(lambda x: standard(x).log_softmax(1), test_set)
    assert {n: f.severity for n, f in found.items()} == {"log-probabilities": "note"}


@pytest.mark.parametrize(("norm", "factor"), [("linf", 3), ("l2", 2)])
def test_confident_logits_are_no_error(
    norm: str, factor: int, standard: Any, test_set: Samples, ask: Any
) -> None:
    """Thrice the trained logits: softmax is 1 for half of the images; L2 steps stall earlier."""
    assert errors(ask(lambda x: factor * standard(x), test_set, norm=norm)) == set()


def test_very_confident_logits_are_no_error_under_sign_steps(
    standard: Any, test_set: Samples, ask: Any
) -> None:
    assert errors(ask(lambda x: 6 * standard(x), test_set)) == set()


def below_five(data: Samples) -> Samples:
    return Samples(images=data.images, labels=(data.labels < 5).long())


def two_classes(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    logits = model(images)
    return torch.stack([logits[:, 5:].logsumexp(1), logits[:, :5].logsumexp(1)], dim=1)


def test_two_classes_are_silent(standard: Any, test_set: Samples, ask: Any) -> None:
    assert ask(lambda x: two_classes(standard, x), below_five(test_set)) == {}


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_one_logit_is_silent(shape: Any, standard: Any, test_set: Samples, ask: Any) -> None:
    def one_logit(images: torch.Tensor) -> torch.Tensor:
        return two_classes(standard, images).diff(dim=1).reshape(shape)

    assert ask(one_logit, below_five(test_set)) == {}


def test_rare_classes_are_silent(standard: Any, test_set: Samples, ask: Any) -> None:
    def only_zero(images: torch.Tensor) -> torch.Tensor:
        logits = standard(images)
        return torch.stack([logits[:, 1:].logsumexp(1), logits[:, 0]], dim=1)

    data = Samples(images=test_set.images, labels=(test_set.labels == 0).long())
    assert ask(only_zero, data) == {}


@pytest.mark.parametrize("flat", [True, False])
def test_a_linear_model_is_silent(flat: bool, test_set: Samples, ask: Any) -> None:
    weights = torch.randn((64, 10), generator=torch.Generator().manual_seed(0))
    images = test_set.images.flatten(1) if flat else test_set.images
    labels = (test_set.images.flatten(1) @ weights).argmax(1)
    data = Samples(images=images, labels=labels)
    assert ask(lambda x: x.flatten(1) @ weights, data) == {}


def test_double_precision_and_half_precision_models(
    standard: Any, test_set: Samples, ask: Any
) -> None:
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        import copy

        model = copy.deepcopy(standard).to(dtype)
        assert errors(ask(model, test_set)) == set()


def test_a_few_dead_images_are_no_error(standard: Any, test_set: Samples, ask: Any) -> None:
    """A rectifier that dies for a few faint images: their gradient is exactly zero."""
    masses = test_set.images.sum(dim=(1, 2, 3))
    alive = masses.quantile(0.03)

    def model(images: torch.Tensor) -> torch.Tensor:
        mass = images.sum(dim=(1, 2, 3)).reshape(-1, 1)
        gate = nn.functional.relu(mass - alive).clamp(max=1)
        return gate * standard(images) - 9 * torch.eye(10)[1] * (1 - gate)

    found = ask(model, test_set)
    assert errors(found) == set()


def test_binary_images_are_silent(with_batch_norm: Any, test_set: Samples, ask: Any) -> None:
    for dtype in (torch.float32, torch.uint8, torch.bool):
        images = (test_set.images > 0.4).to(dtype)
        data = Samples(images=images, labels=test_set.labels)
        assert errors(ask(with_batch_norm, data, epsilon=0.3)) == set()


@pytest.mark.parametrize(
    "forward",
    [
        lambda model, x: model(x.clamp(0, 1)),
        lambda model, x: model(nn.functional.hardtanh(x, 0.0, 1.0)),
        lambda model, x: model(nn.functional.max_pool2d(x, 3, stride=1, padding=1)),
        lambda model, x: model(x) + 100,
        lambda model, x: model(x) / 1000,
        lambda model, x: torch.tanh(model(x) / 10),
        lambda model, x: model(x + ((x * 255).round() / 255 - x).detach()),
    ],
)
def test_ordinary_layers_around_a_model_are_no_error(
    forward: Any, standard: Any, test_set: Samples, ask: Any
) -> None:
    labels = forward(standard, test_set.images).argmax(1)
    data = Samples(images=test_set.images, labels=labels)
    assert errors(ask(lambda x: forward(standard, x), data)) == set()


@pytest.mark.parametrize(("mean", "std"), [(0.5, 0.25), (0.305, 0.376), (0.5, 0.5)])
def test_the_right_normalisation_is_silent(
    mean: float, std: float, standard: Any, test_set: Samples, ask: Any
) -> None:
    found = ask(lambda x: standard(x * std + mean), test_set, normalize={"mean": mean, "std": std})
    assert found == {}


def test_images_in_levels_are_silent_with_a_budget_in_levels(
    standard: Any, test_set: Samples, ask: Any
) -> None:
    data = Samples(images=test_set.images * 16, labels=test_set.labels)
    found = ask(lambda x: standard(x / 16), data, bounds=(0, 16), epsilon=2.4)
    assert found == {}


def test_a_model_of_poor_accuracy_is_no_error(standard: Any, test_set: Samples, ask: Any) -> None:
    """Half of the labels are wrong: far from good, far from guessing."""
    wrong = (test_set.labels + 1 + torch.arange(len(test_set)) % 9) % 10
    keep = torch.arange(len(test_set)) % 2 == 0
    data = Samples(images=test_set.images, labels=torch.where(keep, test_set.labels, wrong))
    assert errors(ask(standard, data)) == set()


def test_colour_images_of_another_size_are_silent() -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 7, stride=4),
        nn.GroupNorm(2, 8),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(128, 5),
    ).eval()
    images = torch.rand((24, 3, 64, 64), generator=generator)
    classifier = Classifier(
        model,
        bounds=(0, 1),
        normalize={"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        device="cpu",
    )
    data = Samples(images=images, labels=classifier.predict(images))
    found = inspect(classifier, data, threat=ThreatModel(norm="linf", epsilon=8 / 255))
    assert {f.name for f in blocking(found)} == set()
