"""Strategies of images, threat models and small networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from hypothesis import strategies as st

from fgmf.backbones import ConvNet, ConvNetConfig, HybridConfig, HybridNet, ViT, ViTConfig
from fgmf.errors import InvalidInput
from fgmf.seeding import image_generator
from fgmf.strategies.drawing import sizes
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.types import Bounds, Norm

_SEEDS: Final = st.integers(0, 2**16 - 1)


def images(
    shape: tuple[int, int, int], *, bounds: Bounds = (0.0, 1.0)
) -> st.SearchStrategy[torch.Tensor]:
    """Single images: of one tone, slopes, a bright rectangle on dark, noise.

    Args:
        shape: (c, h, w).
        bounds: Lowest and highest value.

    Returns:
        (c, h, w) float32 within the bounds; shrinks to an image of the lowest value.

    Raises:
        InvalidInput: The shape or the bounds are none.
    """
    if len(shape) != 3 or min(shape) < 1 or not bounds[0] < bounds[1]:
        message = "expected a shape (channels, height, width) and bounds (lower, upper)"
        raise InvalidInput(f"{message}, got {tuple(shape)} and {bounds}")
    return st.builds(_Painter(tuple(shape), bounds), st.integers(0, 255), _forms(*shape[1:]))


def threat_models(
    norms: Sequence[Norm] = ("linf", "l2", "l1"),
    *,
    largest: float = 1.0,
    bounds: Bounds = (0.0, 1.0),
) -> st.SearchStrategy[ThreatModel]:
    """Norm balls of radius 0 to `largest` (radius 0 too); shrinks to 0 in the first of the norms.

    Args:
        norms: Which ones.
        largest: Radius, in the units of the bounds.
        bounds: Of the images.
    """
    return st.builds(
        ThreatModel,
        norm=st.sampled_from(list(norms)),
        epsilon=st.one_of(st.just(0.0), sizes(largest)),
        bounds=st.just(bounds),
    )


def small_models(
    shape: tuple[int, int, int], *, classes: int = 3
) -> st.SearchStrategy[torch.nn.Module]:
    """Untrained networks with convolutions, attention, or both, in eval mode.

    Args:
        shape: (c, side, side) of the images, at least 8 pixels a side.
        classes: Logits.

    Returns:
        Fresh modules; the same draw gives the same weights. Shrinks to a small `ConvNet`.

    Raises:
        InvalidInput: The shape is none of square images.
    """
    channels, height, width = shape
    if height != width:
        raise InvalidInput(f"expected square images, got {height} x {width} pixels")
    convolutional = st.builds(
        lambda widths, norm, activation, seed: ConvNet(
            ConvNetConfig(
                widths=tuple(widths),
                hidden=8,
                norm=norm,
                activation=activation,
                channels=channels,
                image_side=height,
                num_classes=classes,
            ),
            seed=seed,
        ),
        st.lists(st.sampled_from([4, 8]), min_size=1, max_size=2),
        st.sampled_from(["none", "group", "batch"]),
        st.sampled_from(["relu", "gelu", "silu"]),
        _SEEDS,
    )
    attentive = _SEEDS.map(lambda seed: _attentive(channels, height, classes, seed))
    both = _SEEDS.map(lambda seed: _mixed(channels, height, classes, seed))
    return st.one_of(convolutional, attentive, both).map(lambda module: module.eval())


@dataclass(frozen=True)
class _Painter:
    """An image from its tone, which all forms share so that one shrinks to another."""

    shape: tuple[int, ...]
    bounds: Bounds

    def __call__(self, tone: int, form: tuple[int, ...]) -> torch.Tensor:
        lower, upper = self.bounds
        unit = self._form(*form) * (tone / 255)
        return (lower + unit.double() * (upper - lower)).float().clamp(lower, upper)

    def _form(self, kind: int, *numbers: int) -> torch.Tensor:
        """One tone, a slope, a spot, noise: the highest value is at most 1."""
        _, height, width = self.shape
        if kind == 0:
            return torch.ones(self.shape)
        if kind == 1:
            across = torch.linspace(0, 1, width).expand(self.shape)
            return (
                across if numbers[0] else torch.linspace(0, 1, height).reshape(-1, 1) + across * 0
            )
        if kind == 2:
            row, column, side = numbers
            image = torch.zeros(self.shape)
            image[:, row : row + side, column : column + side] = 1.0
            return image
        return torch.from_numpy(image_generator(numbers[0], "noise").random(size=self.shape))


def _forms(height: int, width: int) -> st.SearchStrategy[tuple[int, ...]]:
    spots = st.tuples(
        st.just(2),
        st.integers(0, height - 1),
        st.integers(0, width - 1),
        st.integers(1, min(height, width)),
    )
    return st.one_of(
        st.tuples(st.just(0)),
        st.tuples(st.just(1), st.integers(0, 1)),
        spots,
        st.tuples(st.just(3), _SEEDS),
    )


def _attentive(channels: int, side: int, classes: int, seed: int) -> torch.nn.Module:
    config = ViTConfig(
        width=16, depth=1, heads=2, channels=channels, image_side=side, num_classes=classes
    )
    return ViT(config, seed=seed)


def _mixed(channels: int, side: int, classes: int, seed: int) -> torch.nn.Module:
    config = HybridConfig(
        stem_widths=(8, 16),
        depth=1,
        heads=2,
        channels=channels,
        image_side=side,
        num_classes=classes,
    )
    return HybridNet(config, seed=seed)
