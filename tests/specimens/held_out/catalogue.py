"""All held-out specimens on digits."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from specimens.held_out.blocks import Detached, PartlyDetached, ThroughNumpy, WithoutGraph
from specimens.held_out.ensembles import Rejecting, Votes
from specimens.held_out.floats import Gamma, HalfLogits, WideLogits
from specimens.held_out.plans import PLANS, steep
from specimens.held_out.purifying import CodeBook, Settling, Smoothing, StraightPast
from specimens.held_out.spikes import SpikingNet
from specimens.honest.fronts import Average
from specimens.making import Behind, digit_network, digit_subject
from specimens.plans import images_of, trained
from specimens.value import Specimen, Twin

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from specimens.value import Naive, Subject


def _masked(
    name: str,
    mechanism: str,
    build: Callable[[], Subject],
    about: str,
    *,
    naive: Naive = "pgd-40",
    searched: bool = False,
) -> Specimen:
    return Specimen(
        name=name,
        mechanism=mechanism,
        label="masked",
        build=build,
        about=about,
        naive=naive,
        searched=searched,
    )


def _around(network: str, wrap: Callable[[nn.Module], nn.Module]) -> Callable[[], Subject]:
    def build() -> Subject:
        twin = Twin(model=digit_network(network))
        return digit_subject(wrap(digit_network(network)), twin)

    return build


def _split_at(
    place: int, wrap: Callable[[nn.Module], nn.Module]
) -> Callable[[nn.Module], nn.Module]:
    """The layers up to a place, made another module, and the rest."""

    def make(network: nn.Module) -> nn.Module:
        layers = list(network.children())
        first, rest = torch.nn.Sequential(*layers[:place]), layers[place:]
        return torch.nn.Sequential(wrap(first), *rest)

    return make


def _then(layer: nn.Module) -> Callable[[nn.Module], nn.Module]:
    return lambda first: torch.nn.Sequential(first, layer)


def _purified(network: str, purifier: Callable[[], nn.Module]) -> Callable[[], Subject]:
    def build() -> Subject:
        straight = Twin(model=Behind(StraightPast(purifier()), digit_network(network)))
        plain = Twin(model=digit_network(network))
        return digit_subject(Behind(purifier(), digit_network(network)), straight, plain)

    return build


def _code_book() -> nn.Module:
    return CodeBook(images_of("grey", "train").images)


class _Cooled(torch.nn.Module):
    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network, self.temperature = network.double(), temperature

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(images.double()) / self.temperature
        return logits


def _distilled(name: str, temperature: float) -> Callable[[], Subject]:
    def build() -> Subject:
        cooled = _Cooled(trained(name, PLANS[name]), temperature)
        return digit_subject(trained(name, PLANS[name]), Twin(model=cooled))

    return build


def _one_step(name: str) -> Callable[[], Subject]:
    def build() -> Subject:
        return digit_subject(
            trained(name, PLANS[name]), Twin(model=trained(name, PLANS[name])), epsilon=0.2
        )

    return build


def _steep() -> Subject:
    def sharpened(factor: float) -> nn.Module:
        network = steep(factor)
        network.load_state_dict(trained("steep", PLANS["steep"]).state_dict())
        return network.eval().requires_grad_(requires_grad=False)

    return digit_subject(sharpened(60.0), Twin(model=sharpened(6.0)), Twin(model=sharpened(12.0)))


def _spikes(name: str, *, random: bool, deployed: nn.Module, twin: nn.Module) -> Subject:
    weights = trained(name, PLANS[name]).state_dict()
    for network in (deployed, twin):
        network.load_state_dict(weights)
        network.eval().requires_grad_(requires_grad=False)
    draws = 8 if random else 1
    return digit_subject(deployed, Twin(model=twin, draws=draws), random=random)


def _even() -> Subject:
    return _spikes(
        "spikes-even",
        random=False,
        deployed=SpikingNet(coding="even"),
        twin=SpikingNet(coding="current", width=1.5),
    )


def _narrow() -> Subject:
    return _spikes(
        "spikes-even",
        random=False,
        deployed=SpikingNet(coding="even", width=1e4, through=True),
        twin=SpikingNet(coding="current", width=1.5),
    )


def _poisson() -> Subject:
    return _spikes(
        "spikes-poisson",
        random=True,
        deployed=SpikingNet(coding="poisson"),
        twin=SpikingNet(coding="poisson", width=1.5, through=True),
    )


def _voting() -> Subject:
    names = ("plain-0", "plain-1", "plain-2")
    return digit_subject(
        Votes(*map(digit_network, names)), Twin(model=Average(*map(digit_network, names)))
    )


def _rejecting() -> Subject:
    names = ("pgd-0", "pgd-1", "n-fgsm-0")
    return digit_subject(
        Rejecting(*map(digit_network, names)), Twin(model=Average(*map(digit_network, names)))
    )


BLOCKED = "blocked-gradient"
FLOATS = "vanishing-exploding"
SPECIMENS = (
    _masked(
        "detached-input",
        BLOCKED,
        _around("plain-0", lambda net: Behind(Detached(), net)),
        "the image is detached",
    ),
    _masked(
        "no-graph-inside",
        BLOCKED,
        _around("pgd-0", _split_at(3, WithoutGraph)),
        "the first block records nothing",
    ),
    _masked(
        "through-numpy",
        BLOCKED,
        _around("plain-1", lambda net: Behind(ThroughNumpy(), net)),
        "a gamma correction in numpy",
    ),
    _masked(
        "partly-detached",
        BLOCKED,
        _around("plain-gelu", _split_at(3, _then(PartlyDetached(1)))),
        "all but one channel are detached",
    ),
    _masked("distilled-20", "defensive-distillation", _distilled("distilled-20", 20.0), "T = 20"),
    _masked("distilled-40", "defensive-distillation", _distilled("distilled-40", 40.0), "T = 40"),
    _masked(
        "distilled-100", "defensive-distillation", _distilled("distilled-100", 100.0), "T = 100"
    ),
    _masked("votes", "ensemble-rejection", _voting, "three vote"),
    _masked("rejecting", "ensemble-rejection", _rejecting, "two must agree, else a third answers"),
    _masked(
        "one-step-trained",
        "label-leak",
        _one_step("one-step-0"),
        "FGSM training, wide",
    ),
    _masked(
        "one-step-trained-norm",
        "label-leak",
        _one_step("one-step-1"),
        "FGSM training, batch norm",
    ),
    _masked(
        "smoothing-loop",
        "purification",
        _purified("plain-0", Smoothing),
        "total variation is minimised inside",
    ),
    _masked(
        "code-book", "purification", _purified("plain-batchnorm-0", _code_book), "nearest patches"
    ),
    _masked(
        "settling-loop",
        "purification",
        _purified("pgd-0", Settling),
        "pixels settle on levels in 60 differentiable steps",
    ),
    _masked("spikes-even", "rate-coded-spikes", _even, "evenly spaced spikes, no gradient"),
    _masked("spikes-narrow", "rate-coded-spikes", _narrow, "a surrogate that is almost nowhere"),
    _masked("spikes-poisson", "rate-coded-spikes", _poisson, "Poisson spikes, no gradient"),
    _masked(
        "gamma",
        FLOATS,
        _around("plain-1", lambda net: Behind(Gamma(), net)),
        "x^.4^2.5: no finite slope at black",
    ),
    _masked(
        "wide-range",
        FLOATS,
        _around("plain-0", partial(WideLogits, scale=1e36, louder=6.0)),
        "logits x 6 by way of 1e36",
    ),
    _masked(
        "half-precision",
        FLOATS,
        _around("plain-2", partial(HalfLogits, scale=1000.0, louder=8.0)),
        "logits x 8 through float16",
    ),
    _masked("steep-sigmoids", FLOATS, _steep, "sigmoids ten times as steep as in training"),
)


def held_out_specimens() -> tuple[Specimen, ...]:
    """All of them; building one is what costs."""
    return SPECIMENS
