"""A hybrid: convolutions find the tokens, transformer blocks relate them.

stem   = for each width: conv 3x3, stride 2 -> group norm -> activation       # halves the side
tokens = the stem's positions, plus a learned position each
logits = linear(norm(mean of blocks(tokens)))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch.fx
from torch import nn

from fgmf.backbones.configuration import activation, check_images, check_sizes, weights_from
from fgmf.backbones.transformer import AttentionBlock
from fgmf.backbones.vit import POSITION_DEVIATION

if TYPE_CHECKING:
    from fgmf.backbones.configuration import Activation
    from fgmf.types import Images, Logits


torch.fx.wrap("check_images")  # a check of shapes, not a part of the graph


@dataclass(frozen=True, kw_only=True)
class HybridConfig:
    """Sizes of a :class:`HybridNet`.

    Attributes:
        image_side: Height and width of the images in pixels, at least 8.
        channels: Of the images: 1 for grey, 3 for colour.
        num_classes: Length of a row of logits.
        stem_widths: Channels after each convolution of the stem, each of which halves the side
            (rounded up); the last is the length of a token.
        depth: Number of blocks.
        heads: Attention heads; they divide the last width.
        mlp_ratio: Hidden width of the MLP over the length of a token.
        activation: ``relu``, ``gelu`` or ``silu``.
    """

    image_side: int = 28
    channels: int = 1
    num_classes: int = 10
    stem_widths: tuple[int, ...] = (32, 64)
    depth: int = 2
    heads: int = 4
    mlp_ratio: int = 2
    activation: Activation = "gelu"


class HybridNet(nn.Module):
    """A convolutional stem under pre-norm transformer blocks.

    Args:
        config: Sizes; the defaults, for 28 x 28 grey images, have 89 866 parameters in
            49 tokens.
        seed: Fixes the first weights; the global generator is left alone.

    Raises:
        InvalidInput: A size that makes no network.
    """

    def __init__(self, config: HybridConfig | None = None, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config = config or HybridConfig()
        _check(config)
        side, channels, stem = config.image_side, config.channels, list[nn.Module]()
        width = config.stem_widths[-1]
        with weights_from(seed):
            for each in config.stem_widths:
                stem += [nn.Conv2d(channels, each, 3, stride=2, padding=1)]
                # One group: every image alone, the same in training and evaluation.
                stem += [nn.GroupNorm(1, each), activation(config.activation)]
                side, channels = -(-side // 2), each
            self.stem = nn.Sequential(*stem)
            self.positions = nn.Parameter(POSITION_DEVIATION * torch.randn(1, side**2, width))
            self.blocks = nn.Sequential(
                *(
                    AttentionBlock(
                        width,
                        heads=config.heads,
                        mlp_ratio=config.mlp_ratio,
                        activation_name=config.activation,
                    )
                    for _ in range(config.depth)
                )
            )
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, config.num_classes)

    def forward(self, images: Images) -> Logits:
        """Images (n, c, h, w) to logits (n, classes).

        Raises:
            InvalidInput: Images of another shape than configured.
        """
        check_images(images, channels=self.config.channels, image_side=self.config.image_side)
        tokens = self.stem(images).flatten(2).transpose(1, 2)  # (n, positions, width)
        tokens = self.norm(self.blocks(tokens + self.positions))
        logits: Logits = self.head(tokens.mean(dim=1))
        return logits


def _check(config: HybridConfig) -> None:
    sizes = {
        "channels": config.channels,
        "num_classes": config.num_classes,
        "len(stem_widths)": len(config.stem_widths),
        "depth": config.depth,
        "heads": config.heads,
        "mlp_ratio": config.mlp_ratio,
    }
    sizes |= {f"stem_widths[{i}]": width for i, width in enumerate(config.stem_widths)}
    check_sizes(sizes, image_side=config.image_side)
