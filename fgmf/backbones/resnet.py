"""A residual network of medium size.

stem    = conv 3x3, and one more with stride 2 as long as the side is above 56
stage i = blocks of width w_i; from the second stage on the first block halves the side
block   = x + conv3(act(norm(conv3(act(norm(x))))))      shortcut: conv 1x1 where the shape changes
logits  = linear(mean over positions of act(norm(.)))

Source: He et al. (2016), identity mappings (pre-activation). The side is rounded up when halved, so
that any side from 8 pixels on works.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import torch
import torch.fx
from torch import nn

from fgmf.backbones.configuration import activation, check_images, check_sizes, weights_from
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from fgmf.backbones.configuration import Activation
    from fgmf.types import Images, Logits

torch.fx.wrap("check_images")  # a check of shapes, not a part of the graph

_LARGEST_FIRST_SIDE = 56
_GROUP_WIDTH = 8


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """Sizes of a :class:`ResNet`.

    Attributes:
        image_side: Height and width of the images in pixels, at least 8.
        channels: Of the images: 1 for grey, 3 for colour.
        num_classes: Length of a row of logits.
        widths: Channels of each stage.
        blocks: Residual blocks of each stage, as many numbers as widths.
        norm: ``batch`` (running statistics in evaluation mode) or ``group`` (groups of about 8
            channels, the same in training and evaluation, and for one process and many).
        activation: ``relu``, ``gelu`` or ``silu``.
    """

    image_side: int = 28
    channels: int = 1
    num_classes: int = 10
    widths: tuple[int, ...] = (32, 64, 128)
    blocks: tuple[int, ...] = (2, 2, 2)
    norm: Literal["batch", "group"] = "batch"
    activation: Activation = "relu"

    @classmethod
    def like_18(cls, *, image_side: int = 32, channels: int = 3, num_classes: int = 10) -> Self:
        """Return the sizes of a ResNet-18 for small images, as adversarial training uses it."""
        return cls(
            image_side=image_side,
            channels=channels,
            num_classes=num_classes,
            widths=(64, 128, 256, 512),
            blocks=(2, 2, 2, 2),
        )


class ResNet(nn.Module):
    """Pre-activation residual network.

    Args:
        config: Sizes; the defaults, for 28 x 28 grey images, have 695 658 parameters;
            `ResNetConfig.like_18()` has 11 172 170.
        seed: Fixes the first weights (torch's defaults); the global generator is left alone.

    Raises:
        InvalidInput: A size that makes no network.
    """

    def __init__(self, config: ResNetConfig | None = None, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config = config or ResNetConfig()
        _check(config)
        with weights_from(seed):
            self.stem = _stem(config)
            blocks: list[nn.Module] = []
            width = config.widths[0]
            for number, (wider, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
                for place in range(count):
                    stride = 2 if number > 0 and place == 0 else 1
                    blocks.append(ResidualBlock(width, wider, stride=stride, config=config))
                    width = wider
            self.blocks = nn.Sequential(*blocks)
            self.norm = _norm(config.norm, width)
            self.activation = activation(config.activation)
            self.head = nn.Linear(width, config.num_classes)

    def forward(self, images: Images) -> Logits:
        """Images (n, c, h, w) to logits (n, classes).

        Raises:
            InvalidInput: Images of another shape than configured.
        """
        check_images(images, channels=self.config.channels, image_side=self.config.image_side)
        maps = self.activation(self.norm(self.blocks(self.stem(images))))
        logits: Logits = self.head(maps.mean(dim=(2, 3)))
        return logits


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut.

    Args:
        width: Channels that come in.
        wider: Channels that go out.
        stride: Of the first convolution and the shortcut.
        config: Norm and activation.
    """

    def __init__(self, width: int, wider: int, *, stride: int, config: ResNetConfig) -> None:
        super().__init__()
        self.first = nn.Sequential(_norm(config.norm, width), activation(config.activation))
        self.second = nn.Sequential(
            nn.Conv2d(width, wider, 3, stride=stride, padding=1, bias=False),
            _norm(config.norm, wider),
            activation(config.activation),
            nn.Conv2d(wider, wider, 3, padding=1, bias=False),
        )
        same = width == wider and stride == 1
        self.shortcut = None if same else nn.Conv2d(width, wider, 1, stride=stride, bias=False)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps (n, width, h, w) to (n, wider, ceil(h / stride), ceil(w / stride))."""
        ready = self.first(maps)
        beside = maps if self.shortcut is None else self.shortcut(ready)
        added: torch.Tensor = beside + self.second(ready)
        return added


def _stem(config: ResNetConfig) -> nn.Sequential:
    width, side = config.widths[0], config.image_side
    layers: list[nn.Module] = [nn.Conv2d(config.channels, width, 3, padding=1, bias=False)]
    while side > _LARGEST_FIRST_SIDE:
        layers += [_norm(config.norm, width), activation(config.activation)]
        layers.append(nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False))
        side = -(-side // 2)
    return nn.Sequential(*layers)


def _norm(kind: str, width: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(width)
    return nn.GroupNorm(math.gcd(width, max(1, width // _GROUP_WIDTH)), width)


def _check(config: ResNetConfig) -> None:
    if config.norm not in ("batch", "group"):
        raise InvalidInput(f"expected a norm of batch, group, got {config.norm!r}")
    if len(config.widths) != len(config.blocks):
        raise InvalidInput(
            f"expected as many blocks as widths, got {len(config.blocks)} and {len(config.widths)}"
        )
    sizes = {f"widths[{i}]": width for i, width in enumerate(config.widths)}
    sizes |= {f"blocks[{i}]": count for i, count in enumerate(config.blocks)}
    check_sizes(
        {
            "channels": config.channels,
            "num_classes": config.num_classes,
            "len(widths)": len(config.widths),
            **sizes,
        },
        image_side=config.image_side,
    )
