"""Any model behind the layer: its outputs, its state, its normalisation."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from fgmf.backbones import ConvNet, ConvNetConfig, HybridConfig, HybridNet, ViT, ViTConfig
from fgmf.curvature import HvpMode, ImageLoss, InputCurvature
from fgmf.errors import InvalidInput
from fgmf.sgam import Sgam, SgamConfig, SgamLayer

CONFIG = SgamConfig(grid_side=4)


@dataclass(frozen=True)
class Output:
    logits: torch.Tensor


class Verbose(nn.Module):
    """A model that returns an object, as many do."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 3)

    def forward(self, images: torch.Tensor) -> Output:
        return Output(self.linear(images.flatten(1)))


def test_every_backbone() -> None:
    nets = [
        ConvNet(ConvNetConfig(image_side=16, channels=2)),
        ViT(ViTConfig(image_side=16, channels=2, depth=2)),
        HybridNet(HybridConfig(image_side=16, channels=2, depth=2)),
    ]
    images = torch.rand(3, 2, 16, 16)
    for net in nets:
        wrapped = Sgam.wrap(net, channels=2, config=CONFIG)
        torch.testing.assert_close(wrapped(images), net(wrapped.layer(images)))
        wrapped.layer.use_variant("none")
        torch.testing.assert_close(wrapped(images), net(images))


def test_outputs_of_any_kind() -> None:
    wrapped = Sgam.wrap(Verbose(), channels=1, config=CONFIG)
    assert wrapped(torch.rand(2, 1, 8, 8)).logits.shape == (2, 3)


def test_the_models_entries_keep_their_names() -> None:
    net = ConvNet(ConvNetConfig(image_side=8))
    state = Sgam.wrap(net, channels=1, config=CONFIG).state_dict()
    assert {k.removeprefix("backbone.") for k in state if k.startswith("backbone.")} == set(
        net.state_dict()
    )
    assert sorted(k for k in state if k.startswith("layer.")) == [
        "layer.mean_count",
        "layer.mean_saliency",
        "layer.predictor.positions",
        "layer.predictor.queries_keys_values.bias",
        "layer.predictor.queries_keys_values.weight",
        "layer.predictor.read_out.bias",
        "layer.predictor.read_out.weight",
        "layer.predictor.stem.bias",
        "layer.predictor.stem.weight",
        "layer.random_saliency",
    ]


def test_a_state_round_trip_is_exact() -> None:
    images = torch.rand(2, 3, 8, 8)
    made = [
        Sgam.wrap(
            ConvNet(ConvNetConfig(image_side=8, channels=3), seed=seed),
            channels=3,
            mean=(0.5, 0.4, 0.3 + 0.1 * seed),
            std=(0.2, 0.2, 0.3),
            config=CONFIG,
            seed=seed,
        )
        for seed in (0, 1)
    ]
    assert not torch.equal(made[0](images), made[1](images))
    made[1].load_state_dict(made[0].state_dict())
    assert torch.equal(made[0](images), made[1](images))


def test_the_normalisation_comes_after_the_mask() -> None:
    images = torch.rand(2, 2, 8, 8, dtype=torch.float64)
    net = nn.Sequential(nn.Flatten(), nn.Linear(128, 3)).double()
    wrapped = Sgam.wrap(net, channels=2, mean=(0.5, 0.1), std=(0.25, 0.5), config=CONFIG)
    masked = wrapped.layer(images)
    by_hand = torch.stack([(masked[:, 0] - 0.5) / 0.25, (masked[:, 1] - 0.1) / 0.5], dim=1)
    # The constants were rounded to float32 on their way.
    torch.testing.assert_close(wrapped(images), net(by_hand), atol=1e-6, rtol=0)


def test_type_device_and_modes_are_the_models() -> None:
    net = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 3)).double()
    net[0].eval()  # a frozen norm in a model that trains
    wrapped = Sgam.wrap(net, channels=1, mean=[0.1], std=[1.0], config=CONFIG)
    assert {p.dtype for p in wrapped.parameters()} == {torch.float64}
    assert wrapped.mean is not None
    assert wrapped.mean.dtype == torch.float64
    assert wrapped.training
    assert wrapped.layer.predictor.training
    assert not net[0].training
    assert wrapped.backbone is net
    assert not Sgam.wrap(net.eval(), channels=1, config=CONFIG).layer.training


def test_curvature_goes_through_the_mask() -> None:
    """Both exact ways agree on the whole, and differ from the network without its mask."""
    net = ConvNet(ConvNetConfig(image_side=8, widths=(4,), hidden=8, activation="gelu")).double()
    wrapped = Sgam.wrap(net, channels=1, config=SgamConfig(grid_side=4, m_min=0.1))
    with torch.no_grad():
        wrapped.layer.predictor.read_out.weight.mul_(6)
    images = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    directions = torch.randn_like(images)
    labels = torch.tensor([1, 0])
    ways: list[tuple[nn.Module, HvpMode]] = [
        (wrapped, "double-backward"),
        (wrapped, "forward-over-reverse"),
        (net, "double-backward"),
    ]
    one, other, bare = (
        InputCurvature(ImageLoss(model=model, labels=labels), images, mode=mode).product(directions)
        for model, mode in ways
    )
    torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-9)
    assert not torch.allclose(one, bare, rtol=0.1)


def test_one_hook_on_the_whole() -> None:
    wrapped, seen = Sgam.wrap(Verbose(), channels=1, config=CONFIG), []
    with wrapped.register_saliency_mask_hook(seen.append):
        wrapped(torch.rand(2, 1, 8, 8))
        copy.deepcopy(wrapped)(torch.rand(2, 1, 8, 8))
    wrapped(torch.rand(2, 1, 8, 8))
    assert len(seen) == 1


def test_channels_and_bounds_are_those_of_the_call() -> None:
    wrapped = Sgam.wrap(
        Verbose(), channels=3, bounds=(-1.0, 1.0), config=SgamConfig(m_min=0.2, channels=1)
    )
    assert wrapped.layer.config == SgamConfig(channels=3, bounds=(-1.0, 1.0), m_min=0.2)


@pytest.mark.parametrize(
    "constants",
    [
        {"mean": [0.5]},
        {"std": [0.5]},
        {"mean": [0.5], "std": [0.5, 0.5]},
        {"mean": [0.5, 0.5], "std": [0.0, 1.0]},
        {"mean": [float("nan"), 0.5], "std": [1.0, 1.0]},
    ],
    ids=str,
)
def test_constants_that_are_none(constants: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"expected (mean|std)"):
        Sgam(SgamLayer(SgamConfig(channels=2)), Verbose(), **constants)


def test_what_is_no_module_is_not_wrapped() -> None:
    with pytest.raises(InvalidInput, match="expected a module to wrap, got int"):
        Sgam.wrap(3, channels=1)  # type: ignore[arg-type]
