from __future__ import annotations

from typing import Any

import pytest
import torch
from grid_models import GridModel, SmallConv
from tiny_models import classify, make_images
from torch import nn

from fgmf.attribution.activations import tapped
from fgmf.attribution.building import explainer
from fgmf.attribution.layers import grid_of
from fgmf.backbones import ConvNet, ConvNetConfig, HybridConfig, HybridNet, ViT, ViTConfig
from fgmf.errors import InvalidInput

TARGETS = torch.tensor([0, 1])


def taken(model: Any, shape: tuple[int, ...] = (1, 12, 12), layer: str = "auto") -> str:
    """The layer that an explainer says it looked at."""
    result = explainer("layer-cam", {"layer": layer}).explain(
        classify(model), make_images(2, shape=shape), TARGETS
    )
    assert result.maps.shape == (2, *shape[1:])
    return str(result.parameters["layer"])


class Block(nn.Module):
    """A residual block that calls one activation twice, as torchvision's do."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        inner = self.second(self.relu(self.first(values)))
        inner += values
        return self.relu(inner)


class Tuples(nn.Module):
    """Blocks that put out tuples of tokens and something else, as transformers' do."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(1, 6)
        self.blocks = nn.ModuleList([TupleBlock(), TupleBlock()])
        self.head = nn.Linear(6, 3)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        pooled = torch.nn.functional.avg_pool2d(images, 3)
        tokens = self.embed(pooled.flatten(2).transpose(1, 2))
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)
        for block in self.blocks:
            tokens, _ = block(tokens)
        return {"logits": self.head(tokens[:, 0])}


class TupleBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(17, 17)
        self.mlp = nn.Sequential(nn.Linear(6, 6), nn.GELU())

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, str]:
        tokens = tokens + self.mix(tokens.transpose(1, 2)).transpose(1, 2)
        return tokens + self.mlp(tokens), "weights"


class ChannelsLast(nn.Module):
    """Maps with the channels at the end, as Swin's."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, 5, 4, stride=4)
        self.mix = nn.Linear(5, 7)
        self.head = nn.Linear(7, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = self.mix(self.embed(images).permute(0, 2, 3, 1)).relu()
        return self.head(values.mean(dim=(1, 2)))


def test_a_convolutional_net_is_looked_at_before_its_last_pooling() -> None:
    assert taken(ConvNet(ConvNetConfig(image_side=12))) == "features.4"
    assert taken(SmallConv()) == "4"
    assert taken(SmallConv(inplace=True)) == "4"


def test_a_block_that_calls_its_activation_twice_counts_at_its_end() -> None:
    model = nn.Sequential(nn.Conv2d(1, 6, 3), Block(6), nn.Flatten(), nn.Linear(600, 3))
    assert taken(model) == "1.relu"


def test_a_layer_that_works_in_place_shows_what_it_put_out() -> None:
    """The same map as from a layer that does not."""
    images = make_images(2, shape=(1, 12, 12))
    maps = [
        explainer("grad-cam-plus-plus").explain(
            classify(SmallConv(seed=1, inplace=inplace)), images, TARGETS
        )
        for inplace in (False, True)
    ]
    assert torch.equal(maps[0].maps, maps[1].maps)
    before = explainer("grad-cam-plus-plus", {"layer": "3"}).explain(
        classify(SmallConv(seed=1, inplace=True)), images, TARGETS
    )
    assert not torch.equal(before.maps, maps[0].maps)


def test_transformers_are_looked_at_where_patches_still_count() -> None:
    tokens = ViTConfig(image_side=12, patch_side=4, width=8, heads=2, depth=3, num_classes=3)
    assert taken(ViT(tokens, seed=2)) == "blocks.1"
    mean = ViTConfig(
        image_side=12, patch_side=4, width=8, heads=2, depth=3, num_classes=3, pooling="mean"
    )
    assert taken(ViT(mean, seed=2)) == "blocks.2"
    hybrid = HybridConfig(image_side=12, stem_widths=(4, 8), heads=2, num_classes=3)
    assert taken(HybridNet(hybrid, seed=2)) == "blocks.1"


class Stock(nn.Module):
    """PyTorch's own encoder, whose blocks end in a norm: block and norm put out one tensor."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.patches = nn.Conv2d(1, 8, 3, 3)
        self.token = nn.Parameter(torch.ones(1, 1, 8))
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(tokens), -1, -1), tokens], dim=1)
        return self.head(self.encoder(tokens)[:, 0])


def test_blocks_that_end_in_a_norm_are_blocks() -> None:
    assert taken(Stock().eval()) == "encoder.layers.0"


def test_patches_that_do_not_divide_the_image_are_cut_off() -> None:
    config = ViTConfig(image_side=13, patch_side=4, width=8, heads=2, depth=2, num_classes=3)
    assert taken(ViT(config, seed=2), (1, 13, 13)) == "blocks.0"


def test_tuples_and_channels_last_are_understood() -> None:
    torch.manual_seed(0)
    assert taken(Tuples()) == "blocks.0"
    torch.manual_seed(1)
    assert taken(ChannelsLast()) == "mix"


@pytest.mark.parametrize(
    ("shape", "image", "found"),
    [
        ((2, 8, 7, 7), (28, 28), ("map", 7, 7, 0)),
        ((2, 8, 26, 26), (28, 28), ("map", 26, 26, 0)),
        ((2, 7, 7, 96), (28, 28), ("map-last", 7, 7, 0)),
        ((2, 50, 64), (28, 28), ("tokens", 7, 7, 1)),
        ((2, 49, 64), (28, 28), ("tokens", 7, 7, 0)),
        ((2, 198, 64), (224, 224), ("tokens", 14, 14, 2)),
        ((2, 261, 64), (224, 224), ("tokens", 16, 16, 5)),
        ((2, 29, 64), (28, 16), ("tokens", 7, 4, 1)),
        ((2, 64), (28, 28), None),
        ((2, 512, 1, 1), (28, 28), None),
        ((2, 3, 64), (28, 28), None),
    ],
)
def test_outputs_lie_over_the_image(shape: Any, image: Any, found: Any) -> None:
    grid = grid_of(shape, image)
    assert (grid and (grid.kind, grid.height, grid.width, grid.class_tokens)) == found


def test_a_named_layer_is_looked_at() -> None:
    assert taken(SmallConv(), layer="1") == "1"


@pytest.mark.parametrize(
    ("model", "layer", "words"),
    [
        (SmallConv(), "conv9", "such as 0, 1, 3, 4, 7, got 'conv9'"),
        (SmallConv(), "7", "as a grid over the image, got shape"),
        (nn.Sequential(nn.Flatten(), nn.Linear(144, 3)), "auto", "got none among 3 outputs"),
        (lambda images: images.flatten(1)[:, :3], "auto", "torch.nn.Module"),
    ],
)
def test_layers_that_do_not_do_are_named(model: Any, layer: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        taken(model, layer=layer)


def test_a_layer_that_never_runs_is_an_error() -> None:
    class Spare(SmallConv):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            for layer in list(self)[:-1]:
                images = layer(images)
            return images

    model = Spare()
    model.append(nn.Identity())
    with pytest.raises(InvalidInput, match="expected the layer to run in a forward pass"):
        taken(model, layer="8")


@pytest.mark.parametrize("name", ["grad-cam", "grad-cam-plus-plus", "layer-cam", "pgca"])
@pytest.mark.parametrize("passes", [0, 1, 2])
def test_hooks_come_off_on_errors(name: str, passes: int) -> None:
    class Fragile(GridModel):
        left = passes

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = super().forward(images)
            self.__dict__["left"] = self.left - 1
            if self.left < 0:
                raise RuntimeError("in the middle")
            return logits

    model = Fragile()
    with pytest.raises(RuntimeError, match="in the middle"):
        explainer(name).explain(
            classify(model, batch_size=1), make_images(3), torch.tensor([0, 1, 2])
        )
    assert all(not module._forward_hooks for module in model.modules())


def test_a_tap_comes_off_by_itself() -> None:
    """Also where no guard would put the model back."""
    model = SmallConv()
    with pytest.raises(RuntimeError), tapped(model[4]):
        model(make_images(2, shape=(3, 12, 12)))  # channels that it was not made for
    assert not model[4]._forward_hooks


def test_what_was_put_out_is_kept_although_the_model_changes_it_later() -> None:
    class Through(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images

    through = Through()
    images = make_images(2)
    values = images * 2
    with tapped(through) as tap:
        through(values)
        values += 1
    torch.testing.assert_close(tap.take(), images * 2, rtol=0, atol=0)
