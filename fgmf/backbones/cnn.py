"""A small convolutional network.

    for each width w:  conv 3x3 (same side) -> norm -> activation -> max-pool 2
    average-pool to at most 4 x 4 -> linear to `hidden` -> activation -> linear to logits

No pooling makes the side less than 4, so 8 x 8 images work with any depth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch.fx
from torch import nn

from fgmf.backbones.configuration import activation, check_images, check_sizes, weights_from
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from fgmf.backbones.configuration import Activation
    from fgmf.types import Images, Logits

torch.fx.wrap("check_images")  # a check of shapes, not a part of the graph

_LAST_SIDE = 4
_GROUP_WIDTH = 8


@dataclass(frozen=True, kw_only=True)
class ConvNetConfig:
    """Sizes of a :class:`ConvNet`.

    Attributes:
        image_side: Height and width of the images in pixels, at least 8.
        channels: Of the images: 1 for grey, 3 for colour.
        num_classes: Length of a row of logits.
        widths: Channels after each convolution.
        hidden: Units of the hidden linear layer.
        norm: ``none``; ``group`` (groups of about 8 channels, the same in training and
            evaluation); ``batch`` (running statistics in evaluation mode).
        activation: ``relu``, ``gelu`` or ``silu``.
    """

    image_side: int = 28
    channels: int = 1
    num_classes: int = 10
    widths: tuple[int, ...] = (16, 32)
    hidden: int = 128
    norm: Literal["none", "group", "batch"] = "none"
    activation: Activation = "relu"


class ConvNet(nn.Module):
    """Convolutions with pooling, then two linear layers.

    Args:
        config: Sizes; the defaults, for 28 x 28 grey images, have 71 754 parameters, and for
            32 x 32 colour images 72 042.
        seed: Fixes the first weights (torch's defaults); the global generator is left alone.

    Raises:
        InvalidInput: A size that makes no network.
    """

    def __init__(self, config: ConvNetConfig | None = None, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config = config or ConvNetConfig()
        sizes = {f"widths[{i}]": width for i, width in enumerate(config.widths)}
        check_sizes(
            {
                "channels": config.channels,
                "num_classes": config.num_classes,
                "hidden": config.hidden,
                "len(widths)": len(config.widths),
                **sizes,
            },
            image_side=config.image_side,
        )
        with weights_from(seed):
            layers, side = _layers(config)
            self.features = nn.Sequential(*layers)
            self.head = nn.Sequential(
                nn.Flatten(),
                nn.Linear(config.widths[-1] * side**2, config.hidden),
                activation(config.activation),
                nn.Linear(config.hidden, config.num_classes),
            )

    def forward(self, images: Images) -> Logits:
        """Images (n, c, h, w) to logits (n, classes).

        Raises:
            InvalidInput: Images of another shape than configured.
        """
        check_images(images, channels=self.config.channels, image_side=self.config.image_side)
        logits: Logits = self.head(self.features(images))
        return logits


def _layers(config: ConvNetConfig) -> tuple[list[nn.Module], int]:
    """The layers below the linear ones, and the side of what they put out."""
    layers: list[nn.Module] = []
    channels, side = config.channels, config.image_side
    for width in config.widths:
        layers += [nn.Conv2d(channels, width, 3, padding=1), *_norm(config.norm, width)]
        layers.append(activation(config.activation))
        channels = width
        if -(-side // 2) >= _LAST_SIDE:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))  # no row is dropped at odd sides
            side = -(-side // 2)
    if side > _LAST_SIDE:
        window = -(-side // _LAST_SIDE)
        layers.append(nn.AvgPool2d(window, ceil_mode=True))
        side = -(-side // window)
    return layers, side


def _norm(kind: str, width: int) -> list[nn.Module]:
    if kind == "none":
        return []
    if kind == "batch":
        return [nn.BatchNorm2d(width)]
    if kind == "group":
        return [nn.GroupNorm(math.gcd(width, max(1, width // _GROUP_WIDTH)), width)]
    raise InvalidInput(f"expected a norm of none, group, batch, got {kind!r}")
