from __future__ import annotations

import dataclasses
from importlib import import_module
from typing import Any

import pytest
import torch
from grid_models import GridModel
from tiny_models import ConvModel, LinearModel, classify, keys_of, make_images
from torch import nn

from fgmf.attribution.building import explainer
from fgmf.attribution.catalogue import EXPLAINERS, check_parameters, find_explainer
from fgmf.attribution.interface import Attribution
from fgmf.errors import GradientUnavailable, InvalidInput, NonFiniteOutput

IMAGES = make_images(5)
TARGETS = torch.arange(5) % 3


@pytest.mark.parametrize("name", EXPLAINERS)
def test_the_catalogue_says_what_the_class_takes(name: str) -> None:
    entry = EXPLAINERS[name]
    assert entry.name == name
    module, _, class_name = entry.class_path.partition(":")
    made = getattr(import_module(module), class_name)
    assert made.name == name
    defaults = {f.name: f.default for f in dataclasses.fields(made)}
    assert defaults == {key: p.default for key, p in entry.parameters.items()}
    assert all(p.accepts(p.default) and p.meaning for p in entry.parameters.values())


@pytest.mark.parametrize("name", EXPLAINERS)
def test_the_repr_reproduces_the_explainer(name: str) -> None:
    made: Any = explainer(name)
    assert eval(repr(made), {type(made).__name__: type(made)}) == made  # noqa: S307 - our own


@pytest.mark.parametrize("name", EXPLAINERS)
def test_the_result_is_about_every_image(name: str) -> None:
    classifier = classify(ConvModel(), batch_size=4)
    entry = EXPLAINERS[name]
    result = explainer(name).explain(classifier, IMAGES, TARGETS, seed=3)
    assert result.maps.shape == (5, 8, 8)
    assert result.maps.dtype == torch.float32
    assert result.targets.tolist() == TARGETS.tolist()
    assert result.method == name
    assert set(result.parameters) >= set(entry.parameters)
    assert result.keys == keys_of(IMAGES)
    assert result.seed == 3
    assert result.diagnostics["zero_map"].tolist() == [0] * 5
    assert result.cost.seconds > 0
    assert (result.cost.backward_passes > 0) is entry.needs_gradient


@pytest.mark.parametrize("name", EXPLAINERS)
def test_neither_batch_size_nor_neighbours_change_a_map(name: str) -> None:
    method = explainer(name)
    whole = method.explain(classify(GridModel(), batch_size=64), IMAGES, TARGETS, seed=5)
    for size in (1, 3, 7):
        parts = method.explain(classify(GridModel(), batch_size=size), IMAGES, TARGETS, seed=5)
        assert torch.equal(parts.maps, whole.maps)
    order = torch.tensor([3, 1])
    some = method.explain(classify(GridModel()), IMAGES[order], TARGETS[order], seed=5)
    assert torch.equal(some.maps, whole.maps[order])
    other = method.explain(classify(GridModel()), IMAGES, TARGETS, seed=6)
    assert torch.equal(other.maps, whole.maps) is not EXPLAINERS[name].random


@pytest.mark.parametrize("name", EXPLAINERS)
def test_nan_logits_are_an_error_with_the_position_of_the_image(name: str) -> None:
    class Sick(GridModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = super().forward(images)
            return logits.where(images[:, 0, 6:].mean(dim=(1, 2))[:, None] < 0.85, torch.nan)

    images = IMAGES.clone()
    images[3, :, 6:] = 1.0  # of which every explainer asks something near
    with pytest.raises(NonFiniteOutput, match="image 3"):
        explainer(name).explain(classify(Sick(), batch_size=2), images, TARGETS)


@pytest.mark.parametrize("name", [n for n, e in EXPLAINERS.items() if e.needs_gradient])
def test_a_cut_graph_is_an_error(name: str) -> None:
    class Cut(GridModel):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images).detach()

    with pytest.raises(GradientUnavailable):
        explainer(name).explain(classify(Cut()), IMAGES, TARGETS)


@pytest.mark.parametrize(
    ("images", "targets", "keys", "words"),
    [
        (IMAGES * 255, TARGETS, None, "within bounds"),
        (IMAGES[0], TARGETS, None, "n, c, h, w"),
        (IMAGES[:0], TARGETS[:0], None, "n >= 1"),
        ((IMAGES * 255).byte(), TARGETS, None, "floating-point"),
        (IMAGES * torch.nan, TARGETS, None, "within bounds"),
        (IMAGES, TARGETS[:4], None, r"shape \(5,\)"),
        (IMAGES, TARGETS.double(), None, "class indices"),
        (IMAGES, TARGETS + 7, None, "targets from 0 to 3"),
        (IMAGES, TARGETS, ["a"], "one key for each of 5"),
    ],
)
def test_wrong_arguments_are_named(images: Any, targets: Any, keys: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        explainer("gradient").explain(classify(LinearModel()), images, targets, keys=keys)


def test_wrong_names_and_parameters_are_named() -> None:
    with pytest.raises(InvalidInput, match="gradient-times-input"):
        find_explainer("gradcam")
    with pytest.raises(InvalidInput, match="got outptu"):
        explainer("gradient", {"outptu": "logit"})
    with pytest.raises(InvalidInput, match="one of log-odds, logit, probability, got 'loss'"):
        check_parameters(find_explainer("gradient"), {"output": "loss"})


def test_a_result_must_fit_together() -> None:
    values: dict[str, Any] = {
        "maps": torch.zeros(2, 3, 3),
        "targets": torch.zeros(2, dtype=torch.int64),
        "method": "gradient",
        "parameters": {},
        "keys": ("a", "b"),
        "seed": 0,
    }
    Attribution(**values)
    for name, value in [
        ("maps", torch.zeros(2, 3)),
        ("maps", torch.zeros(2, 3, 3, dtype=torch.int64)),
        ("keys", ("a",)),
        ("stages", {"first": torch.zeros(2, 3, 2)}),
        ("diagnostics", {"gap": torch.zeros(3)}),
    ]:
        with pytest.raises(InvalidInput):
            Attribution(**{**values, name: value})


def test_the_gradient_of_a_linear_model_is_its_weight() -> None:
    model = LinearModel(classes=4)
    weight = model.weight.detach()[TARGETS].reshape(-1, 8, 8)
    classifier = classify(model)
    plain = explainer("gradient", {"output": "logit"}).explain(classifier, IMAGES, TARGETS)
    assert torch.equal(plain.maps, weight)
    times = explainer("gradient-times-input", {"output": "logit"})
    assert torch.equal(times.explain(classifier, IMAGES, TARGETS).maps, weight * IMAGES[:, 0])


@pytest.mark.parametrize("output", ["log-odds", "logit", "probability"])
def test_the_gradient_is_that_of_the_output(output: str) -> None:
    """Central differences in float64: error of order h squared, and rounding of 1e-16 / h."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    images, step = IMAGES[:1].double(), 1e-5

    def value(points: torch.Tensor) -> torch.Tensor:
        logits = model(points)
        shares = logits.softmax(dim=1)[:, 2]
        return {
            "log-odds": (shares / (1 - shares)).log(),
            "logit": logits[:, 2],
            "probability": shares,
        }[output]

    steps = torch.eye(64, dtype=torch.float64).reshape(64, 1, 8, 8) * step
    with torch.no_grad():
        slope = (value(images + steps) - value(images - steps)) / (2 * step)
    made = explainer("gradient", {"output": output})
    result = made.explain(classify(model), images, torch.tensor([2]))
    torch.testing.assert_close(result.maps[0].flatten(), slope, rtol=1e-7, atol=1e-9)
    assert result.cost.forward_passes == result.cost.backward_passes == 1
