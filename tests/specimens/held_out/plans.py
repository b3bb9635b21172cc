"""Networks that are trained for these specimens."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fgmf.training import Schedule, StandardRecipe
from specimens.held_out.floats import Steep
from specimens.held_out.recipes import OneStepRecipe, TemperatureRecipe
from specimens.held_out.spikes import SpikingNet
from specimens.networks import conv_net, multilayer
from specimens.plans import Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

_LONG = Schedule(epochs=25, batch_size=64, peak_learning_rate=8e-3)
_SHARP = Schedule(epochs=30, batch_size=64, peak_learning_rate=1e-2, average_decay=None)


def _distilled(build: Callable[[], nn.Module], temperature: float) -> Plan:
    teacher = Plan(build=build, recipe=TemperatureRecipe(temperature=temperature, schedule=_LONG))
    recipe = TemperatureRecipe(temperature=temperature, teacher_plan=teacher, schedule=_LONG)
    return Plan(build=build, recipe=recipe)


def steep(factor: float) -> nn.Module:
    """A network with sigmoids of a factor."""
    return conv_net(act=partial(Steep, factor), pool="average", seed=57)


PLANS: dict[str, Plan] = {
    "distilled-20": _distilled(partial(conv_net, seed=52), 20.0),
    "distilled-100": _distilled(partial(conv_net, norm=True, seed=53), 100.0),
    "distilled-40": _distilled(partial(multilayer, 64, 48, seed=54), 40.0),
    "one-step-0": Plan(
        build=partial(conv_net, widths=(24, 48), hidden=96, seed=55),
        recipe=OneStepRecipe(epsilon=0.2, schedule=_SHARP),
    ),
    "one-step-1": Plan(
        build=partial(conv_net, norm=True, widths=(16, 32), hidden=96, seed=56),
        recipe=OneStepRecipe(epsilon=0.2, schedule=_SHARP),
    ),
    "steep": Plan(build=partial(steep, 6.0), recipe=StandardRecipe(schedule=_LONG)),
    "spikes-even": Plan(
        build=partial(SpikingNet, coding="even"), recipe=StandardRecipe(schedule=_LONG)
    ),
    "spikes-poisson": Plan(
        build=partial(SpikingNet, coding="poisson"), recipe=StandardRecipe(schedule=_LONG)
    ),
}
