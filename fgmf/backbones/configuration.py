"""What all backbones share: activations by name, checked sizes, first weights from a seed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import torch
from torch import nn

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Activation: TypeAlias = Literal["relu", "gelu", "silu"]

SMALLEST_SIDE: Final = 8
"""Pixels; below it nothing is left to pool."""

_ACTIVATIONS: Final[Mapping[str, type[nn.Module]]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


def activation(name: Activation) -> nn.Module:
    """Return a new activation layer.

    Raises:
        InvalidInput: There is none of that name.
    """
    if name not in _ACTIVATIONS:
        raise InvalidInput(f"expected an activation of {', '.join(_ACTIVATIONS)}, got {name!r}")
    return _ACTIVATIONS[name]()


def check_sizes(sizes: Mapping[str, int], *, image_side: int) -> None:
    """Refuse sizes that make no network.

    Args:
        sizes: Numbers of channels, layers and so on, by name; each must be at least one.
        image_side: Pixels, at least `SMALLEST_SIDE`.

    Raises:
        InvalidInput: One of them is too small, or no whole number.
    """
    for name, size in {**sizes, "image_side": image_side}.items():
        least = SMALLEST_SIDE if name == "image_side" else 1
        if not isinstance(size, int) or isinstance(size, bool) or size < least:
            raise InvalidInput(f"expected {name} as a whole number >= {least}, got {size!r}")


def check_images(images: torch.Tensor, *, channels: int, image_side: int) -> None:
    """Refuse images of another shape than the network was made for.

    Raises:
        InvalidInput: The images are not (n, channels, image_side, image_side).
    """
    expected = (channels, image_side, image_side)
    if images.ndim != 4 or tuple(images.shape[1:]) != expected:
        raise InvalidInput(
            f"expected images of shape (n, {channels}, {image_side}, {image_side}), "
            f"got {tuple(images.shape)}; resize them, or change the configuration"
        )


@contextmanager
def weights_from(seed: int) -> Iterator[None]:
    """Draw the weights of the layers made inside from `seed`.

    Randomness: torch's global CPU generator is put back afterwards, as if nothing was drawn.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def parameter_count(model: nn.Module) -> int:
    """Return how many numbers training can change."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
