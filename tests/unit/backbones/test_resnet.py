"""The residual network: its block written out, its shapes, its norms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, relu

from fgmf.backbones import ResNet, ResNetConfig
from fgmf.backbones.resnet import ResidualBlock
from fgmf.errors import InvalidInput


@pytest.mark.parametrize(("wider", "stride"), [(4, 1), (6, 1), (6, 2)])
def test_block_is_the_formula(wider: int, stride: int) -> None:
    torch.manual_seed(0)
    block = ResidualBlock(4, wider, stride=stride, config=ResNetConfig()).double().eval()
    maps = torch.randn(2, 4, 7, 7, dtype=torch.float64)
    unit = 1 / (1 + 1e-5) ** 0.5  # untrained batch norm divides by sqrt(1 + eps)
    ready = relu(maps * unit)
    inner = conv2d(ready, block.second[0].weight, stride=stride, padding=1)
    inner = conv2d(relu(inner * unit), block.second[3].weight, padding=1)
    beside = maps
    if block.shortcut is not None:
        beside = conv2d(ready, block.shortcut.weight, stride=stride)
    assert (block.shortcut is None) == ((wider, stride) == (4, 1))
    torch.testing.assert_close(block(maps), beside + inner, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("side", "first"), [(8, 8), (28, 28), (56, 56), (64, 32), (224, 56)])
def test_the_first_side_is_at_most_56(side: int, first: int) -> None:
    config = ResNetConfig(image_side=side, widths=(4, 8), blocks=(1, 1))
    model = ResNet(config).eval()
    images = torch.rand(1, 1, side, side)
    assert model.stem(images).shape == (1, 4, first, first)
    half = -(-first // 2)
    assert model.blocks(model.stem(images)).shape == (1, 8, half, half)


@pytest.mark.parametrize(
    ("norm", "layer", "other"),
    [("batch", nn.BatchNorm2d, nn.GroupNorm), ("group", nn.GroupNorm, nn.BatchNorm2d)],
)
def test_norm(norm: Any, layer: type[nn.Module], other: type[nn.Module]) -> None:
    kinds = [type(module) for module in ResNet(ResNetConfig(norm=norm)).modules()]
    assert layer in kinds
    assert other not in kinds


@pytest.mark.parametrize(
    "sizes", [{"norm": "none"}, {"blocks": (2, 2)}, {"widths": (0, 1, 2)}, {"blocks": (1, 0, 1)}]
)
def test_refusals(sizes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        ResNet(ResNetConfig(**sizes))
