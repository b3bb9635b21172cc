"""Every mistake of use that silently inflated robustness: one test each.

Each is a real model on real images that reaches a far higher robust accuracy than it has, or
an unreadable exception, when it is attacked without a look at how it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from fgmf.classifier import Classifier
from fgmf.datasets import Samples
from fgmf.preflight import blocking

Forward = Callable[[nn.Module, torch.Tensor], Any]


class Around(nn.Module):
    """A model with something around its forward pass."""

    def __init__(self, model: nn.Module, forward: Forward) -> None:
        super().__init__()
        self.model, self.around = model, forward
        self.eval()

    def forward(self, images: torch.Tensor) -> Any:
        return self.around(self.model, images)


def blocked(found: dict[str, Any]) -> set[str]:
    return {finding.name for finding in blocking(found.values())}


@pytest.mark.parametrize(
    ("forward", "name"),
    [
        (lambda model, x: model((x * 15).round() / 15), "gradient-zero"),
        (lambda model, x: model(x.detach()), "gradient-blocked"),
        (
            lambda model, x: model(x.flip(3)) if torch.is_grad_enabled() else model(x),
            "gradient-mode-changes-output",
        ),
    ],
)
def test_rounding_and_detach(
    forward: Forward, name: str, standard: Any, test_set: Samples, ask: Any
) -> None:
    model = Around(standard, forward)
    found = ask(model, test_set)
    assert name in blocked(found)
    assert "gradient-masking" in found[name].fix
    assert blocked(ask(model, test_set, kind="gradient-masking")) == set()


def test_bytes_with_a_unit_epsilon(standard: Any, test_set: Samples, ask: Any) -> None:
    on_bytes = Around(standard, lambda model, x: model(x / 255))
    for dtype in (torch.uint8, torch.float32):
        images = (test_set.images * 255).round().to(dtype)
        data = Samples(images=images, labels=test_set.labels)
        name = "integer-images-fractional-epsilon"
        assert blocked(ask(on_bytes, data, bounds=(0, 255))) == {name}
        assert blocked(ask(on_bytes, data, bounds=(0, 255), epsilon=0.15 * 255)) == set()


def test_epsilon_zero(standard: Any, test_set: Samples, ask: Any) -> None:
    assert blocked(ask(standard, test_set, epsilon=0.0)) == {"epsilon-zero"}


@pytest.mark.parametrize(
    ("mean", "std", "bounds"),
    [(0.5, 0.25, (-2.0, 2.0)), (0.1307, 0.3081, (-0.43, 2.83)), (0.305, 0.376, (-2.5, 2.5))],
)
def test_normalised_images_with_widened_bounds(
    mean: float, std: float, bounds: Any, standard: Any, test_set: Samples, ask: Any
) -> None:
    inside = Around(standard, lambda model, x: model(x * std + mean))
    data = Samples(images=(test_set.images - mean) / std, labels=test_set.labels)
    assert blocked(ask(inside, data, bounds=bounds)) == {"images-normalised-already"}


def test_normalised_images_with_unit_bounds(standard: Any, test_set: Samples, ask: Any) -> None:
    inside = Around(standard, lambda model, x: model(x * 0.25 + 0.5))
    data = Samples(images=(test_set.images - 0.5) / 0.25, labels=test_set.labels)
    found = ask(inside, data)
    assert blocked(found) == {"images-outside-bounds"}
    assert "`normalize`" in found["images-outside-bounds"].fix


@pytest.mark.parametrize("confidence", [1, 20])
def test_softmax(confidence: int, standard: Any, test_set: Samples, ask: Any) -> None:
    model = Around(standard, lambda model, x: (confidence * model(x)).softmax(1))
    assert "probabilities-not-logits" in blocked(ask(model, test_set))


def test_logits_as_confident_as_that_softmax(standard: Any, test_set: Samples, ask: Any) -> None:
    model = Around(standard, lambda model, x: 20 * model(x))
    assert blocked(ask(model, test_set)) == {"saturated-logits"}


def test_train_mode_is_corrected_and_noted(
    with_batch_norm: Any, test_set: Samples, ask: Any
) -> None:
    buffers = [buffer.clone() for buffer in with_batch_norm.buffers()]
    with_batch_norm.train()
    try:
        found = ask(with_batch_norm, test_set)
        assert with_batch_norm.training
    finally:
        with_batch_norm.eval()
    assert {name: f.severity for name, f in found.items()} == {"train-mode": "note"}
    for before, now in zip(buffers, with_batch_norm.buffers(), strict=True):
        assert torch.equal(before, now)


def test_train_mode_that_cannot_be_corrected_blocks(
    with_batch_norm: Any, test_set: Samples, ask: Any
) -> None:
    with_batch_norm.train()
    try:
        found = ask(with_batch_norm.forward, test_set)
    finally:
        with_batch_norm.eval()
    assert {"forward-changes-state", "nondeterministic-output"} & blocked(found)


@pytest.mark.parametrize(
    "forward",
    [
        lambda model, x: (model(x), x),
        lambda model, x: [model(x)],
        lambda model, x: {"features": x, "logits": model(x)},
        lambda model, x: SimpleNamespace(logits=model(x), hidden_states=None),
    ],
)
def test_outputs_that_hold_logits(
    forward: Forward, standard: Any, test_set: Samples, ask: Any
) -> None:
    assert ask(Around(standard, forward), test_set) == {}


def test_one_hot_labels(standard: Any, test_set: Samples, ask: Any) -> None:
    one_hot = nn.functional.one_hot(test_set.labels, 10)
    data = Samples(images=test_set.images, labels=one_hot)
    assert blocked(ask(standard, data)) == {"labels-one-hot"}


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.float32])
def test_labels_of_other_types(
    dtype: torch.dtype, standard: Any, test_set: Samples, ask: Any
) -> None:
    data = Samples(images=test_set.images, labels=test_set.labels.to(dtype))
    assert {name: f.severity for name, f in ask(standard, data).items()} == {"labels-dtype": "note"}


def test_double_precision_images(standard: Any, test_set: Samples, ask: Any) -> None:
    data = Samples(images=test_set.images.double(), labels=test_set.labels)
    assert {name: f.severity for name, f in ask(standard, data).items()} == {"images-dtype": "note"}


def test_a_masked_gradient_really_inflates_robust_accuracy(
    standard: Any, test_set: Samples
) -> None:
    """Rounding really does inflate what an attack reports: the reason for all of this."""
    classifier = Classifier(
        Around(standard, lambda model, x: model((x * 15).round() / 15)),
        bounds=(0, 1),
        device="cpu",
    )
    images, labels = test_set.images[:100], test_set.labels[:100]
    honest = images.clone().requires_grad_()
    masked = images.clone().requires_grad_()
    nn.functional.cross_entropy(standard(honest), labels).backward()
    with classifier.guard():
        nn.functional.cross_entropy(classifier.logits(masked), labels).backward()
    accuracies = [
        float(
            (standard((images + 0.15 * leaf.grad.sign()).clamp(0, 1)).argmax(1) == labels)
            .float()
            .mean()
        )
        for leaf in (honest, masked)
        if leaf.grad is not None
    ]
    assert accuracies[0] < 0.6
    assert accuracies[1] > 0.9
