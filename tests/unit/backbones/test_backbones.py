"""Promises that every backbone keeps: shapes, seeds, gradients, images that stay apart."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import torch
from torch import nn

from fgmf.backbones import (
    AttentionBlock,
    ConvNet,
    ConvNetConfig,
    HybridConfig,
    HybridNet,
    ResNet,
    ResNetConfig,
    SpikingNet,
    ViT,
    ViTConfig,
    parameter_count,
)
from fgmf.errors import InvalidInput

ALL: list[tuple[Any, Any]] = [
    (ConvNet, ConvNetConfig),
    (ViT, ViTConfig),
    (HybridNet, HybridConfig),
    (ResNet, ResNetConfig),
]
backbones = pytest.mark.parametrize(("model_class", "config_class"), ALL, ids=lambda c: c.__name__)


@backbones
class TestEveryBackbone:
    @pytest.mark.parametrize(
        ("side", "channels"), [(8, 1), (28, 1), (32, 3), (33, 2), (224, 3)], ids=str
    )
    def test_any_side_and_channels(
        self, model_class: Any, config_class: Any, side: int, channels: int
    ) -> None:
        config = config_class(image_side=side, channels=channels, num_classes=7)
        if side == 224 and model_class is ViT:
            config = config_class(image_side=side, channels=channels, num_classes=7, patch_side=16)
        if side == 224 and model_class is HybridNet:
            widths = (16, 16, 32, 64)
            config = config_class(
                image_side=side, channels=channels, num_classes=7, stem_widths=widths
            )
        logits = model_class(config)(torch.rand(2, channels, side, side))
        assert logits.shape == (2, 7)
        assert logits.dtype == torch.float32
        assert bool(logits.isfinite().all())

    def test_seed_fixes_the_weights_and_nothing_else(
        self, model_class: Any, config_class: Any
    ) -> None:
        state = torch.get_rng_state()
        first, again, other = (model_class(seed=seed) for seed in (3, 3, 4))
        assert torch.equal(torch.get_rng_state(), state)
        pairs = list(zip(first.parameters(), again.parameters(), strict=True))
        assert all(torch.equal(a, b) for a, b in pairs)
        assert not all(
            torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True)
        )

    def test_images_do_not_meet(self, model_class: Any, config_class: Any) -> None:
        """The logits of an image do not depend on its batch."""
        model = model_class().double().eval()
        images = torch.rand(5, 1, 28, 28, dtype=torch.float64)
        together = model(images)
        alone = torch.cat([model(image[None]) for image in images])
        # Double precision; sums in another order.
        torch.testing.assert_close(together, alone, atol=1e-10, rtol=0)

    def test_every_pixel_and_parameter_has_a_gradient(
        self, model_class: Any, config_class: Any
    ) -> None:
        model = model_class(config_class(image_side=9, channels=2, activation="silu"))
        images = torch.rand(4, 2, 9, 9, requires_grad=True)
        model(images).square().sum().backward()
        assert images.grad is not None
        assert bool((images.grad != 0).all())
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            # A row of attention sums to 1, so that the bias of the keys cannot matter.
            assert bool((parameter.grad != 0).any()), name

    @pytest.mark.parametrize(("name", "layer"), [("relu", nn.ReLU), ("silu", nn.SiLU)])
    def test_activation_is_the_one_named(
        self, model_class: Any, config_class: Any, name: str, layer: type[nn.Module]
    ) -> None:
        layers = [type(m) for m in model_class(config_class(activation=name)).modules()]
        used = set(layers) & {nn.ReLU, nn.GELU, nn.SiLU}
        assert used == {layer}

    def test_wrong_images_are_refused(self, model_class: Any, config_class: Any) -> None:
        with pytest.raises(InvalidInput, match=r"shape \(n, 1, 28, 28\), got \(2, 3, 28, 28\)"):
            model_class()(torch.rand(2, 3, 28, 28))
        with pytest.raises(InvalidInput, match=r"got \(28, 28\)"):
            model_class()(torch.rand(28, 28))

    @pytest.mark.parametrize(
        ("sizes", "message"),
        [
            ({"image_side": 7}, "image_side as a whole number >= 8, got 7"),
            ({"channels": 0}, "channels as a whole number >= 1, got 0"),
            ({"num_classes": 1.5}, "num_classes as a whole number"),
            ({"activation": "tanh"}, "activation of relu, gelu, silu, got 'tanh'"),
        ],
    )
    def test_impossible_configurations_are_refused(
        self, model_class: Any, config_class: Any, sizes: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(InvalidInput, match=message):
            model_class(config_class(**sizes))

    def test_configuration_is_frozen_and_by_name(self, model_class: Any, config_class: Any) -> None:
        config = config_class()
        with pytest.raises(FrozenInstanceError):
            config.channels = 3
        with pytest.raises(TypeError):
            config_class(28)


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (ConvNet(), 71_754),
        (ViT(), 139_018),
        (HybridNet(), 89_866),
        (ResNet(), 695_658),
        (ResNet(ResNetConfig.like_18()), 11_172_170),
        (SpikingNet(), 20_490),
    ],
)
def test_parameters_are_as_many_as_documented(model: nn.Module, count: int) -> None:
    assert parameter_count(model) == count
    digits = f"{count:,}".replace(",", " ")
    assert digits in (type(model).__doc__ or "")


class TestConvNet:
    @pytest.mark.parametrize(
        ("norm", "layer"), [("group", nn.GroupNorm), ("batch", nn.BatchNorm2d), ("none", None)]
    )
    def test_norm(self, norm: Any, layer: type[nn.Module] | None) -> None:
        model = ConvNet(ConvNetConfig(norm=norm, widths=(12, 32)))
        found = [type(m) for m in model.modules() if isinstance(m, nn.GroupNorm | nn.BatchNorm2d)]
        assert found == ([] if layer is None else [layer, layer])

    def test_unknown_norm_and_empty_widths_are_refused(self) -> None:
        with pytest.raises(InvalidInput, match="norm of none, group, batch"):
            ConvNet(ConvNetConfig(norm="layer"))  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match=r"len\(widths\)"):
            ConvNet(ConvNetConfig(widths=()))

    def test_deep_ones_fit_small_images(self) -> None:
        model = ConvNet(ConvNetConfig(image_side=8, widths=(8, 8, 8, 8)))
        assert model(torch.rand(1, 1, 8, 8)).shape == (1, 10)


class TestTransformers:
    def test_block_is_the_formula(self) -> None:
        """Against attention written out, in double precision."""
        torch.manual_seed(0)
        block = AttentionBlock(12, heads=3, mlp_ratio=2, activation_name="gelu").double()
        tokens = torch.rand(2, 5, 12, dtype=torch.float64)
        normal = block.attention_norm(tokens)
        expected = tokens.clone()
        for n in range(2):
            rows = block.queries_keys_values(normal[n])
            heads = []
            for head in range(3):
                at = slice(4 * head, 4 * head + 4)
                q, k, v = rows[:, :12][:, at], rows[:, 12:24][:, at], rows[:, 24:][:, at]
                heads.append(torch.softmax(q @ k.T / 4**0.5, dim=1) @ v)
            expected[n] += block.projection(torch.cat(heads, dim=1))
        expected = expected + block.mlp(block.mlp_norm(expected))
        torch.testing.assert_close(block(tokens), expected, atol=1e-12, rtol=0)

    @pytest.mark.parametrize("pooling", ["class-token", "mean"])
    def test_pooling(self, pooling: Any) -> None:
        model = ViT(ViTConfig(pooling=pooling))
        assert (model.class_token is None) == (pooling == "mean")
        assert model.positions.shape == (1, 49 + (pooling == "class-token"), 64)

    def test_last_pixels_count_where_patches_do_not_fit(self) -> None:
        model = ViT(ViTConfig(image_side=10)).eval()
        images = torch.zeros(1, 1, 10, 10)
        changed = images.clone()
        changed[..., 9, 9] = 1.0
        assert not torch.equal(model(images), model(changed))

    def test_impossible_ones_are_refused(self) -> None:
        with pytest.raises(InvalidInput, match="width that 3 heads divide, got 64"):
            ViT(ViTConfig(heads=3))
        with pytest.raises(InvalidInput, match="pooling of class-token, mean"):
            ViT(ViTConfig(pooling="max"))  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match="patches within the image of side 8"):
            ViT(ViTConfig(image_side=8, patch_side=9))
        with pytest.raises(InvalidInput, match=r"len\(stem_widths\)"):
            HybridNet(HybridConfig(stem_widths=()))
