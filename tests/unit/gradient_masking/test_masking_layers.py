"""The walk names the layer at which the gradient is lost; the repair gives it back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import classify, make_images
from torch import nn

from fgmf.gradient_masking.repairing import Repair, RepairedLogits, repaired_sources
from fgmf.gradient_masking.walking import walk

IMAGES = make_images(8, margin=0.1)


class _Negative(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        return values.relu()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return -gradients[0]


class _Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        return (values * 16).round() / 16

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0]


class Step(nn.Module):
    """A layer that does something to its values."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.function(values)
        return result


class Inside(nn.Module):
    """A network with a function, not a module, in front."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function, self.network = function, network()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(self.function(images))
        return logits


def network(*front: Any, middle: Any = None, end: Any = None) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [
            *(Step(step) for step in front),
            nn.Conv2d(1, 4, 3, padding=1),
            nn.ReLU() if middle is None else Step(middle),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64, 5),
        ]
    if end is not None:
        layers.append(Step(end))
    return nn.Sequential(*layers).eval()


def walked(model: nn.Module) -> Any:
    classifier = classify(model, dtype="float64")
    with classifier.guard():
        return walk(classifier, IMAGES, seed=0)


def gradient(logits: Any) -> torch.Tensor:
    leaf = IMAGES.clone().requires_grad_()
    return torch.autograd.grad(logits(leaf)[:, 0].sum(), leaf)[0]


@pytest.mark.parametrize(
    ("model", "faults"),
    [
        (network(), {}),
        (network(lambda v: (v * 16).round() / 16), {"0": "lost"}),
        (network(lambda v: v.detach() + 0 * v), {"0": "lost"}),
        (network(_Straight.apply), {}),
        (network(middle=_Negative.apply), {"1": "wrong"}),
        (network(middle=torch.sign), {"1": "lost"}),
        (network(end=lambda v: nn.functional.one_hot(v.argmax(1), 5).double()), {"5": "lost"}),
        (network(end=lambda v: torch.log_softmax(v, dim=1)), {}),
    ],
)
def test_the_layer_at_fault_is_found(model: nn.Module, faults: dict[str, str]) -> None:
    found = walked(model)
    assert found.faults == faults
    assert found.cut == ()


def test_hooks_come_off_whatever_happens() -> None:
    model = network(middle=lambda v: v if len(v) > 100 else 1 / 0)
    assert walked(model) is None
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_what_is_cut_between_modules_is_joined_again() -> None:
    model = Inside(lambda images: images.detach())
    found = walked(model)
    assert found.cut == ("network",)
    assert found.entry is not None
    classifier = classify(model, dtype="float64")
    with classifier.guard():
        repaired = gradient(RepairedLogits(classifier, Repair(joined=found.cut)))
    true = gradient(model.network)
    cosine = torch.nn.functional.cosine_similarity(repaired.flatten(1), true.flatten(1), dim=1)
    # Scaled to float32 on the way back: the direction is that of the network without the cut.
    assert cosine.min() > 0.999


def test_a_lying_backward_pass_is_replaced_by_slopes() -> None:
    model = network(middle=_Negative.apply)
    classifier = classify(model, dtype="float64")
    with classifier.guard():
        values = RepairedLogits(classifier, Repair(replaced=("1",)))(IMAGES)
        repaired = gradient(RepairedLogits(classifier, Repair(replaced=("1",))))
        own, lying = classifier.logits(IMAGES), gradient(classifier.logits)
    true = gradient(honest)
    assert torch.allclose(values, own)
    cosine = torch.nn.functional.cosine_similarity
    # Slopes over a quarter of the spread round off the corners of a ReLU.
    assert cosine(repaired.flatten(1), true.flatten(1), dim=1).mean() > 0.8
    assert cosine(lying.flatten(1), true.flatten(1), dim=1).mean() < 0


def honest(images: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = network()(images)
    return logits


def test_inner_logits_stand_for_labels() -> None:
    model = network(end=lambda v: nn.functional.one_hot(v.argmax(1), 5).double())
    found = walked(model)
    assert found.exits == ("4",)
    classifier = classify(model, dtype="float64")
    with classifier.guard():
        names = [source.name for source in repaired_sources(classifier, found, lambda f: f)]
        inner = RepairedLogits(classifier, Repair(exits=("4",)))(IMAGES)
    assert "logits of 4" in names
    assert torch.equal(inner.argmax(1), model(IMAGES).argmax(1))
    assert len(inner.unique()) > 5
