"""Networks that are trained for these specimens."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from torch import nn

from fgmf.training import PgdRecipe, Schedule, StandardRecipe
from specimens.making import Behind
from specimens.networks import conv_net
from specimens.open.inputs import Masked, Thermometer
from specimens.open.randomness import Dropped, NoisyInput, RandomResize
from specimens.open.winners import Winners
from specimens.plans import Plan

if TYPE_CHECKING:
    import torch

EPSILON = 0.15
_SHORT = Schedule(epochs=15, batch_size=64, peak_learning_rate=8e-3)
_LONG = Schedule(epochs=25, batch_size=64, peak_learning_rate=8e-3)
_LEVELS = 10


def winners(share: float, seed: int) -> nn.Module:
    """A network with winners in place of ReLU."""
    return conv_net(act=partial(Winners, share), widths=(16, 32), hidden=64, seed=seed)


def thermometer(*, slope: float | None = None) -> nn.Module:
    """A network that sees levels; with a slope, the same with soft steps."""
    return Behind(Thermometer(_LEVELS, slope=slope), conv_net(channels=_LEVELS, seed=41))


def rounded_mask(saliency: torch.Tensor) -> torch.Tensor:
    """In five levels."""
    return (4 * saliency).round() / 4


def mask_reader() -> nn.Module:
    """A network that sees the rounded mask alone."""
    return Behind(Masked(rounded_mask, alone=True), conv_net(seed=42))


def soft_mask_reader() -> nn.Module:
    """The same without rounding."""
    return Behind(Masked(lambda saliency: saliency, alone=True), conv_net(seed=42))


def noisy() -> nn.Module:
    """Noise in front, in training too."""
    return Behind(NoisyInput(0.3), conv_net(seed=45))


def resizing() -> nn.Module:
    """Random size and place in front, in training too."""
    return Behind(RandomResize(0.6), conv_net(seed=46))


def dropping() -> nn.Module:
    """Dropout on the image and behind a convolution, in training too."""
    layers = list(conv_net(widths=(24, 48), hidden=64, seed=47).children())
    hidden = [*layers[:3], Dropped(0.4), *layers[3:]]
    return Behind(Dropped(0.5), nn.Sequential(*hidden))


PLANS: dict[str, Plan] = {
    "winners-plain": Plan(build=partial(winners, 0.1, 43), recipe=StandardRecipe(schedule=_LONG)),
    "winners-pgd": Plan(
        build=partial(winners, 0.15, 44),
        recipe=PgdRecipe(epsilon=EPSILON, steps=5, schedule=_LONG),
    ),
    "random-noise": Plan(build=noisy, recipe=StandardRecipe(schedule=_LONG)),
    "random-resize": Plan(build=resizing, recipe=StandardRecipe(schedule=_LONG)),
    "random-dropout": Plan(build=dropping, recipe=StandardRecipe(schedule=_LONG)),
    "thermometer": Plan(build=thermometer, recipe=StandardRecipe(schedule=_SHORT)),
    "mask-reader": Plan(build=mask_reader, recipe=StandardRecipe(schedule=_SHORT)),
}
