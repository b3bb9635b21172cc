"""A small vision transformer.

tokens = patches through one linear layer, plus a learned position each
tokens = [class token, tokens]                     # pooling = "class-token"
tokens = blocks(tokens)
logits = linear(norm(class token  |  mean of the tokens))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch.fx
from torch import nn

from fgmf.backbones.configuration import check_images, check_sizes, weights_from
from fgmf.backbones.transformer import AttentionBlock
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from fgmf.backbones.configuration import Activation
    from fgmf.types import Images, Logits

torch.fx.wrap("check_images")  # a check of shapes, not a part of the graph

POSITION_DEVIATION = 0.02
"""Standard deviation of the first positions and class token, as in the ViT paper's code."""


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """Sizes of a :class:`ViT`.

    Attributes:
        image_side: Height and width of the images in pixels, at least 8.
        channels: Of the images: 1 for grey, 3 for colour.
        num_classes: Length of a row of logits.
        patch_side: Pixels; the last row and column of patches is padded with zeros where it does
            not divide the side.
        width: Length of a token.
        depth: Number of blocks.
        heads: Attention heads; they divide the width.
        mlp_ratio: Hidden width of the MLP over `width`.
        pooling: ``class-token`` or ``mean``: what the logits are read from.
        activation: ``relu``, ``gelu`` or ``silu``.
    """

    image_side: int = 28
    channels: int = 1
    num_classes: int = 10
    patch_side: int = 4
    width: int = 64
    depth: int = 4
    heads: int = 4
    mlp_ratio: int = 2
    pooling: Literal["class-token", "mean"] = "class-token"
    activation: Activation = "gelu"


class ViT(nn.Module):
    """Vision transformer with pre-norm blocks and learned positions.

    Args:
        config: Sizes; the defaults, for 28 x 28 grey images, have 139 018 parameters in
            50 tokens.
        seed: Fixes the first weights; the global generator is left alone.

    Raises:
        InvalidInput: A size that makes no network.

    Source: Dosovitskiy et al. (2021); smaller, without dropout.
    """

    def __init__(self, config: ViTConfig | None = None, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config = config or ViTConfig()
        _check(config)
        self.grid_side = -(-config.image_side // config.patch_side)
        self.padding = self.grid_side * config.patch_side - config.image_side
        tokens = self.grid_side**2 + (config.pooling == "class-token")
        with weights_from(seed):
            self.patches = nn.Conv2d(
                config.channels, config.width, config.patch_side, stride=config.patch_side
            )
            self.positions = nn.Parameter(POSITION_DEVIATION * torch.randn(1, tokens, config.width))
            self.class_token: nn.Parameter | None = None
            if config.pooling == "class-token":
                self.class_token = nn.Parameter(
                    POSITION_DEVIATION * torch.randn(1, 1, config.width)
                )
            self.blocks = nn.Sequential(
                *(
                    AttentionBlock(
                        config.width,
                        heads=config.heads,
                        mlp_ratio=config.mlp_ratio,
                        activation_name=config.activation,
                    )
                    for _ in range(config.depth)
                )
            )
            self.norm = nn.LayerNorm(config.width)
            self.head = nn.Linear(config.width, config.num_classes)

    def forward(self, images: Images) -> Logits:
        """Images (n, c, h, w) to logits (n, classes).

        Raises:
            InvalidInput: Images of another shape than configured.
        """
        check_images(images, channels=self.config.channels, image_side=self.config.image_side)
        padded = nn.functional.pad(images, (0, self.padding, 0, self.padding))
        tokens = self.patches(padded).flatten(2).transpose(1, 2)  # (n, grid^2, width)
        if self.class_token is not None:
            # `shape[0]`, not `len`: tracers follow it, so that exported batches stay dynamic.
            first = self.class_token.expand(tokens.shape[0], -1, -1)
            tokens = torch.cat([first, tokens], dim=1)
        tokens = self.norm(self.blocks(tokens + self.positions))
        pooled = tokens.mean(dim=1) if self.class_token is None else tokens[:, 0]
        logits: Logits = self.head(pooled)
        return logits


def _check(config: ViTConfig) -> None:
    sizes = {
        "channels": config.channels,
        "num_classes": config.num_classes,
        "patch_side": config.patch_side,
        "width": config.width,
        "depth": config.depth,
        "heads": config.heads,
        "mlp_ratio": config.mlp_ratio,
    }
    check_sizes(sizes, image_side=config.image_side)
    if config.pooling not in ("class-token", "mean"):
        raise InvalidInput(f"expected pooling of class-token, mean, got {config.pooling!r}")
    if config.patch_side > config.image_side:
        raise InvalidInput(
            f"expected patches within the image of side {config.image_side}, "
            f"got patch_side={config.patch_side}"
        )
