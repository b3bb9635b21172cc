"""Interval bounds hold for every point of the box, in the model's own arithmetic."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import classify, make_images, measure, rule
from torch import nn
from torch.nn import functional

from fgmf.selftest.chains import layers_of
from fgmf.selftest.interval_bounds import (
    Intervals,
    certified_images,
    input_box,
    margins_below,
    output_bounds,
)
from fgmf.threat import ThreatModel

UNIT = float(torch.finfo(torch.float32).eps)
IMAGES = make_images(20)


def _network(*middle: nn.Module, head: bool = True) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers: list[nn.Module] = [nn.Conv2d(1, 4, 3, padding=1, stride=2), *middle, nn.Flatten()]
        width = nn.Sequential(*layers).eval()(IMAGES[:1]).shape[1]
        last = [nn.Linear(width, 6), nn.ReLU(), nn.Linear(6, 3)] if head else []
        return nn.Sequential(*layers, *last).eval()


def _trained_norm() -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(4)
    norm.running_mean = torch.tensor([0.1, -0.2, 0.3, 0.0])
    norm.running_var = torch.tensor([0.5, 1.0, 2.0, 0.1])
    nn.init.uniform_(norm.weight, -1, 1)  # falling as well as rising
    return norm


NETWORKS = {
    "relu": lambda: _network(nn.ReLU()),
    "inplace": lambda: _network(nn.ReLU(inplace=True), nn.Dropout(0.5)),
    "norm": lambda: _network(_trained_norm(), nn.ReLU()),
    "average": lambda: _network(nn.ReLU(), nn.AvgPool2d(2)),
    "adaptive": lambda: _network(nn.AdaptiveAvgPool2d(1)),
    "max": lambda: _network(nn.MaxPool2d(2), nn.Identity()),
    "no head": lambda: _network(nn.AdaptiveAvgPool2d(1), head=False),
}


@pytest.mark.parametrize("epsilon", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("name", NETWORKS)
def test_no_point_of_the_box_leaves_the_bounds(name: str, epsilon: float) -> None:
    network = NETWORKS[name]()
    layers = layers_of(network)
    assert layers is not None
    box = input_box(IMAGES, ThreatModel(norm="linf", epsilon=epsilon))
    lower, upper = output_bounds(layers, box, unit=UNIT)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for round_number in range(40):
            share = torch.rand(IMAGES.shape, generator=generator)
            if round_number % 2:
                share = share.round()  # corners
            point = (box.lower + share * (box.upper - box.lower)).float()
            logits = network(point).double()
            assert bool(((lower <= logits) & (logits <= upper)).all())


def test_bounds_of_one_linear_layer_are_tight() -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
    classifier = classify(linear)
    labels = classifier.predict(IMAGES)
    weight, bias = linear[1].weight.detach().double(), linear[1].bias.detach().double()
    logits = IMAGES.double().flatten(1) @ weight.T + bias
    rows = torch.arange(len(labels))
    own = weight[labels].unsqueeze(1) - weight
    box = input_box(IMAGES, ThreatModel(norm="linf", epsilon=0.01, bounds=(-9.0, 9.0)))
    exact = logits[rows, labels].unsqueeze(1) - logits - 0.01 * own.abs().sum(dim=2)
    exact[rows, labels] = torch.inf
    below = margins_below(list(linear), box, labels, unit=UNIT)
    assert bool((below <= exact.amin(dim=1)).all())
    assert torch.allclose(below, exact.amin(dim=1), atol=1e-3)  # the slack for rounding


def test_attacks_break_no_certified_image_and_bounds_are_not_empty() -> None:
    network = _network(nn.ReLU())
    classifier = classify(network)
    labels = classifier.predict(IMAGES)
    counts = []
    for epsilon in (0.001, 0.005, 0.05, 0.5):
        threat = ThreatModel(norm="linf", epsilon=epsilon)
        proven = certified_images(classifier, IMAGES, rule(labels), threat)
        found = measure(classifier, IMAGES, labels, attacks=["pgd", "deepfool"], epsilon=epsilon)
        assert proven is not None
        assert not bool((proven & found.broken).any())
        counts.append(int(proven.sum()))
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 5
    assert counts[-1] == 0


def test_wrong_images_are_not_certified() -> None:
    classifier = classify(_network(nn.ReLU()))
    wrong = (classifier.predict(IMAGES) + 1) % 3
    threat = ThreatModel(norm="linf", epsilon=0.0001)
    proven = certified_images(classifier, IMAGES, rule(wrong), threat)
    assert proven is not None
    assert not bool(proven.any())


def test_normalisation_is_part_of_the_network() -> None:
    """Dividing by .1 makes a budget ten times as large."""
    plain, near = _network(nn.ReLU()), ThreatModel(norm="linf", epsilon=0.008)
    far = ThreatModel(norm="linf", epsilon=0.08, bounds=(-9.0, 9.0))
    scaled = classify(plain, normalize={"mean": 0.5, "std": 0.1})
    other = classify(plain, bounds=(-9.0, 9.0))
    moved = (IMAGES - 0.5) / 0.1
    labels = scaled.predict(IMAGES)
    assert torch.equal(labels, other.predict(moved))
    first = certified_images(scaled, IMAGES, rule(labels), near)
    second = certified_images(other, moved, rule(labels), far)
    assert first is not None
    assert second is not None
    assert 0 < int(first.sum()) < len(first)
    assert int((first != second).sum()) <= 1  # the box cuts only one of them


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 2, 3), nn.Linear(72, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(torch.flatten(functional.relu(self.conv(images)), 1))


class Doubled(Functional):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images) * 2


class Branched(Functional):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = self.conv(images)
        return self.head((hidden.relu() + hidden).flatten(1))


class Looking(Functional):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images if images.mean() > 0 else -images)


def test_a_forward_that_calls_functions_is_a_chain_too() -> None:
    model = Functional().eval()
    layers = layers_of(model)
    assert layers is not None
    assert torch.equal(nn.Sequential(*layers)(IMAGES), model(IMAGES))


def _hooked() -> nn.Module:
    model = Functional().eval()
    model.conv.register_forward_hook(lambda *_: None)
    return model


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(lambda: Doubled().eval(), id="arithmetic"),
        pytest.param(lambda: Branched().eval(), id="branch"),
        pytest.param(lambda: Looking().eval(), id="looks at values"),
        pytest.param(_hooked, id="hook"),
        pytest.param(lambda: _network(nn.Sigmoid()), id="layer"),
        pytest.param(lambda: _network(nn.BatchNorm2d(4)).train(), id="batch statistics"),
        pytest.param(nn.Sequential, id="nothing"),
    ],
)
def test_anything_else_is_not_supported(model: Any) -> None:
    assert layers_of(model()) is None


def test_what_does_not_agree_with_the_model_is_not_certified() -> None:
    """One logit: the adapter makes two of it, the chain knows of one."""
    single = nn.Sequential(nn.Flatten(), nn.Linear(64, 1)).eval()
    threat = ThreatModel(norm="linf", epsilon=0.01)
    labels = torch.zeros(len(IMAGES), dtype=torch.int64)
    assert certified_images(classify(single), IMAGES, rule(labels), threat) is None
    assert certified_images(classify(lambda x: x.flatten(1)), IMAGES, rule(labels), threat) is None


def test_a_network_that_runs_something_else_than_is_traced_is_not_certified() -> None:
    threat = ThreatModel(norm="linf", epsilon=1e-4, bounds=(0.0, 1.0))

    def certified(network: nn.Module) -> torch.Tensor | None:
        classifier = classify(network)
        with classifier.guard():
            labels = classifier.predict(IMAGES)
        return certified_images(classifier, IMAGES, rule(labels), threat)

    plain = certified(_network(nn.ReLU()))
    assert plain is not None
    assert bool(plain.any())
    whole, part = _network(nn.ReLU()), _network(nn.ReLU())
    forward = whole.forward
    whole.forward = lambda images: 2 * forward(images)  # type: ignore[method-assign]
    inner = part[1].forward
    part[1].forward = lambda images: 2 * inner(images)  # type: ignore[method-assign]

    class Called(nn.Sequential):
        def __call__(self, images: torch.Tensor) -> torch.Tensor:
            return super().__call__(images)  # type: ignore[no-any-return]

    assert certified(whole) is None
    assert certified(part) is None
    assert certified(Called(*_network(nn.ReLU()))) is None


def test_the_lead_allows_for_the_rounding_of_both_logits() -> None:
    head = nn.Linear(1, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0], [0.001]]))
        head.bias.copy_(torch.tensor([0.5, 0.25]))
    point = torch.ones(1, 1, dtype=torch.float64)
    (below,) = margins_below([head], Intervals(point, point), torch.tensor([0]), unit=UNIT)
    small = float(torch.tensor(0.001))
    # One product and four more roundings, of magnitudes 1 + .5 for the label and .001 + .25.
    allowed = 5 * UNIT * (1.5 + small + 0.25)
    # Float64 arithmetic of a few terms.
    assert float(below) == pytest.approx(1.5 - small - 0.25 - allowed, abs=1e-14)
