"""Backward passes that are not the derivative, and terms that drown it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    Change = Callable[[torch.Tensor], torch.Tensor]


class _Through(torch.autograd.Function):
    """The identity, with a given backward pass."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, change: Change) -> torch.Tensor:
        ctx.change = change
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.change(gradient), None


class WrongBackward(nn.Module):
    """A layer that passes values on, and something else than their gradient back."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self.change = change

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        passed: torch.Tensor = _Through.apply(values, self.change)
        return passed


class _WrongRelu(torch.autograd.Function):
    """ReLU, whose backward lets through what the forward stopped."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(values)
        return values.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (values,) = ctx.saved_tensors
        return gradient * (values <= 0)


class WrongRelu(nn.Module):
    """See `_WrongRelu`."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        passed: torch.Tensor = _WrongRelu.apply(values)
        return passed


def shuffled(gradient: torch.Tensor) -> torch.Tensor:
    """Rows and columns in another order."""
    return gradient.flip(-1).roll(3, dims=-2)


class HookedInput(nn.Module):
    """A network with a hook on the gradient of its input."""

    def __init__(self, network: nn.Module, change: Change) -> None:
        super().__init__()
        self.network, self.change = network, change

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        seen = images.clone()
        if seen.requires_grad:
            seen.register_hook(self.change)
        logits: torch.Tensor = self.network(seen)
        return logits


def hooked(network: nn.Module, place: str, change: Change) -> nn.Module:
    """Put a backward hook on one of the layers."""

    def replace(_module: nn.Module, given: tuple[torch.Tensor, ...], _out: object) -> object:
        return tuple(None if g is None else change(g) for g in given)

    network.get_submodule(place).register_full_backward_hook(replace)
    return network


class Ripple(nn.Module):
    """Images plus a fast small wave of each pixel: nothing to the eye, everything to a gradient."""

    def __init__(self, height: float, frequency: float) -> None:
        super().__init__()
        self.height, self.frequency = height, frequency

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images + self.height * torch.sin(self.frequency * images)


class RippledLogits(nn.Module):
    """Logits plus small fast waves of random projections of the image."""

    def __init__(self, network: nn.Module, *, pixels: int, height: float, frequency: float) -> None:
        super().__init__()
        self.network, self.height, self.frequency = network, height, frequency
        draws = torch.Generator().manual_seed(3)
        self.register_buffer("ways", torch.randn(pixels, 10, generator=draws))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        waves = torch.sin(self.frequency * (images.flatten(1) @ self.ways))
        logits: torch.Tensor = self.network(images) + self.height * waves
        return logits
