"""What is done to logits: scaled, bounded, replaced by labels or probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable


class ChangedLogits(nn.Module):
    """A network and a function of its logits."""

    def __init__(self, network: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.network, self.change = network, change

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.change(self.network(images))


def scaled(factor: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Times a factor."""
    return lambda logits: factor * logits


def bounded(factor: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Between -1 and 1, in the same order; in float64 until then, so that few become equal."""
    return lambda logits: torch.tanh(factor * logits.double()).float()


def softsign(factor: float, width: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Between -width and width, with a slope that falls as a power."""
    return lambda logits: width * torch.nn.functional.softsign(factor * logits)


def one_hot(logits: torch.Tensor) -> torch.Tensor:
    """The decision alone; attached to nothing."""
    return torch.nn.functional.one_hot(logits.argmax(dim=1), logits.shape[1]).to(logits.dtype)


def attached_one_hot(logits: torch.Tensor) -> torch.Tensor:
    """The decision alone, attached with a gradient of zero."""
    return one_hot(logits) + 0.0 * logits


def probabilities(factor: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """A saturated softmax in place of logits."""
    return lambda logits: torch.softmax(factor * logits, dim=1)


def rounded_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Probabilities to two digits, as an interface gives them."""
    return torch.softmax(logits, dim=1).mul(100).round() / 100 + 0.0 * logits
