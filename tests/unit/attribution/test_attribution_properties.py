"""What must hold for every image: the properties that explanations are known by."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from grid_models import GridModel, SmallConv
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import LinearModel, classify, make_images
from torch import nn

from fgmf.attribution.building import explainer
from fgmf.attribution.catalogue import EXPLAINERS

SEEDS = st.integers(0, 10**6)
TARGETS = torch.tensor([0, 1, 2])
GRADIENT_NAMES = [n for n, e in EXPLAINERS.items() if e.needs_gradient]


def maps_of(model: nn.Module, name: str, images: torch.Tensor, **options: Any) -> torch.Tensor:
    targets = options.pop("targets", TARGETS[: len(images)])
    keys = options.pop("keys", None)
    classifier = classify(model, bounds=options.pop("bounds", (0.0, 1.0)))
    return explainer(name, options).explain(classifier, images, targets, keys=keys).maps


class Shifted(nn.Module):
    """A constant more on every logit."""

    def __init__(self, model: nn.Module, shift: float) -> None:
        super().__init__()
        self.model, self.shift = model, shift

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images) + self.shift


class Permuted(nn.Module):
    """The classes in another order."""

    def __init__(self, model: nn.Module, order: torch.Tensor) -> None:
        super().__init__()
        self.model, self.order = model, order

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images)[:, self.order]


@given(seed=SEEDS)
def test_linear_logits_are_weight_times_input(seed: int) -> None:
    """Exactly: sums over steps are of equal numbers in float64, and one product is rounded once."""
    model, images = LinearModel(seed=seed), make_images(3, seed=seed)
    expected = model.weight.detach()[TARGETS].reshape(3, 8, 8) * images[:, 0]
    assert torch.equal(maps_of(model, "gradient-times-input", images, output="logit"), expected)
    for steps in (1, 4, 32):
        made = maps_of(model, "integrated-gradients", images, output="logit", steps=steps)
        assert torch.equal(made, expected)


@settings(max_examples=20)
@given(seed=SEEDS, baseline=st.sampled_from(["zero", "mean", "noise", "blur"]))
def test_integrated_gradients_are_complete(seed: int, baseline: str) -> None:
    """To the error of the midpoint rule on a smooth network: (slope of the gradient) / steps^2."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    images = make_images(3, seed=seed).double()
    method = explainer("integrated-gradients", {"steps": 64, "baseline": baseline})
    result = method.explain(classify(model), images, TARGETS)
    difference = result.diagnostics["score"] - result.diagnostics["baseline_score"]
    gap = difference - result.maps.sum(dim=(1, 2))
    torch.testing.assert_close(result.diagnostics["completeness_gap"], gap, rtol=0, atol=1e-12)
    assert bool((gap.abs() < 1e-3).all())


@settings(max_examples=8)  # of every explainer
@given(seed=SEEDS, shift=st.floats(-50, 50))
@pytest.mark.parametrize("name", EXPLAINERS)
def test_a_constant_on_all_logits_changes_nothing(name: str, seed: int, shift: float) -> None:
    """To rounding of logits that are larger by the shift: 50 x 2^-53 in float64, amplified by
    the division of min-max where a map is nearly flat."""
    model = SmallConv(seed=seed).double()
    images = make_images(2, seed=seed).double()
    plain, shifted = (maps_of(m, name, images) for m in (model, Shifted(model, shift)))
    torch.testing.assert_close(shifted, plain, rtol=1e-6, atol=1e-9)


@settings(max_examples=8)  # of every explainer
@given(seed=SEEDS, order=st.permutations([0, 1, 2]))
@pytest.mark.parametrize("name", EXPLAINERS)
def test_the_order_of_classes_does_not_matter(name: str, seed: int, order: list[int]) -> None:
    """To rounding of sums over classes in another order."""
    model, images = SmallConv(seed=seed).double(), make_images(3, seed=seed).double()
    new = torch.tensor(order)
    where = torch.tensor([order.index(int(t)) for t in TARGETS])
    plain = maps_of(model, name, images)
    permuted = maps_of(Permuted(model, new), name, images, targets=where)
    torch.testing.assert_close(permuted, plain, rtol=1e-6, atol=1e-9)


@settings(max_examples=20)
@given(
    seed=SEEDS,
    height=st.integers(8, 15),
    width=st.integers(8, 15),
    channels=st.integers(1, 4),
    grid=st.integers(1, 8),
    fusion=st.sampled_from(["consensus", "published"]),
)
def test_pgca_takes_any_size_grid_and_channels(
    seed: int, height: int, width: int, channels: int, grid: int, fusion: str
) -> None:
    images = make_images(2, seed=seed, shape=(channels, height, width))
    model = SmallConv(channels=channels, seed=seed)
    result = explainer("pgca", {"grid": grid, "fusion": fusion}).explain(
        classify(model), images, TARGETS[:2]
    )
    assert result.maps.shape == (2, height, width)
    assert all(bool(stage.isfinite().all()) for stage in result.stages.values())


@settings(max_examples=20)
@given(seed=SEEDS, fusion=st.sampled_from(["consensus", "published"]))
def test_pgca_of_an_all_zero_image_is_a_reported_zero_map(seed: int, fusion: str) -> None:
    """With a layer that puts out nothing there: no bias, so nothing for Grad-CAM++ to see."""
    model = SmallConv(seed=seed)
    for layer in model:
        if getattr(layer, "bias", None) is not None:
            layer.bias.data.zero_()  # type: ignore[union-attr] # as just seen
    result = explainer("pgca", {"fusion": fusion}).explain(
        classify(model), torch.zeros(2, 1, 9, 9), TARGETS[:2]
    )
    assert bool((result.maps == 0).all())
    assert result.diagnostics["zero_map"].tolist() == [1, 1]
    assert result.diagnostics["zero_cam"].tolist() == [1, 1]


@settings(max_examples=20)
@given(seed=SEEDS, value=st.floats(0, 1), fusion=st.sampled_from(["consensus", "published"]))
def test_pgca_of_a_constant_image_is_finite(seed: int, value: float, fusion: str) -> None:
    images = torch.full((2, 3, 9, 11), value)
    model = SmallConv(channels=3, seed=seed)
    result = explainer("pgca", {"fusion": fusion}).explain(classify(model), images, TARGETS[:2])
    assert bool(result.maps.isfinite().all())


@settings(max_examples=8)  # of every explainer
@given(seed=SEEDS, size=st.integers(1, 9))
@pytest.mark.parametrize("name", EXPLAINERS)
def test_the_batch_size_changes_no_map(name: str, seed: int, size: int) -> None:
    """To the last bit, on a model whose logits do not depend on the batch."""
    model, images = GridModel(seed=seed), make_images(3, seed=seed)
    method = explainer(name)
    whole = method.explain(classify(model, batch_size=500), images, TARGETS, seed=seed)
    parts = method.explain(classify(model, batch_size=size), images, TARGETS, seed=seed)
    assert torch.equal(whole.maps, parts.maps)


@settings(max_examples=8)  # of every explainer
@given(seed=SEEDS)
@pytest.mark.parametrize("name", GRADIENT_NAMES)
def test_other_bounds_are_other_units_alone(name: str, seed: int) -> None:
    """Images in [0, 255] are the same images: maps are equal but for the unit of a gradient.

    To rounding of float64, amplified where a map is nearly flat.
    """
    inner = SmallConv(seed=seed).double()
    images = make_images(2, seed=seed).double()
    outer = nn.Sequential(Scale(1 / 255), inner)
    keys = ("a", "b")
    plain = maps_of(inner, name, images, keys=keys)
    scaled = maps_of(outer, name, images * 255, keys=keys, bounds=(0.0, 255.0))
    unit = 255 if name in {"gradient", "smooth-grad"} else 1
    torch.testing.assert_close(scaled * unit, plain, rtol=1e-5, atol=1e-9)


class Scale(nn.Module):
    """A factor on every pixel."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images * self.factor
