"""All open specimens on digits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from specimens.making import Behind, digit_network, digit_subject
from specimens.open.behaviour import (
    BatchStatistics,
    CallCounter,
    GradientDecoy,
    OffTheData,
    Shell,
)
from specimens.open.gradients import (
    HookedInput,
    Ripple,
    RippledLogits,
    WrongBackward,
    WrongRelu,
    hooked,
    shuffled,
)
from specimens.open.inputs import BlockTransform, Masked, Rounded
from specimens.open.logits import (
    ChangedLogits,
    attached_one_hot,
    bounded,
    one_hot,
    probabilities,
    rounded_probabilities,
    scaled,
    softsign,
)
from specimens.open.plans import PLANS, rounded_mask, soft_mask_reader, thermometer
from specimens.open.randomness import Dithered, RandomRipple
from specimens.plans import images_of, trained
from specimens.value import Specimen, Twin

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from specimens.value import Label, Subject


def wrapped(
    name: str,
    mechanism: str,
    network: str,
    wrap: Callable[[nn.Module], nn.Module],
    about: str,
    *,
    label: Label = "masked",
    data: str = "grey",
    random: bool = False,
    draws: int = 1,
) -> Specimen:
    """A known network behind something; the network itself is the twin.

    Random ones have themselves, averaged over draws, as a second twin.
    """

    def build() -> Subject:
        twins = [Twin(model=digit_network(network))]
        if random:
            averaged = wrap(digit_network(network)).eval().requires_grad_(requires_grad=False)
            twins.append(Twin(model=averaged, draws=draws))
        return digit_subject(wrap(digit_network(network)), *twins, data=data, random=random)

    return Specimen(name=name, mechanism=mechanism, label=label, build=build, about=about)


def changed(
    name: str,
    mechanism: str,
    network: str,
    change: Callable[[torch.Tensor], torch.Tensor],
    about: str,
) -> Specimen:
    """A network with changed logits."""
    return wrapped(name, mechanism, network, lambda net: ChangedLogits(net, change), about)


def behind(
    name: str,
    mechanism: str,
    network: str,
    front: Callable[[], nn.Module],
    about: str,
    *,
    label: Label = "masked",
    data: str = "grey",
    random: bool = False,
    draws: int = 1,
) -> Specimen:
    """A network behind a changed input."""
    return wrapped(
        name,
        mechanism,
        network,
        lambda net: Behind(front(), net),
        about,
        label=label,
        data=data,
        random=random,
        draws=draws,
    )


def _replaced(place: int, layer: Callable[[], nn.Module]) -> Callable[[nn.Module], nn.Module]:
    def wrap(network: nn.Module) -> nn.Module:
        layers = list(network.children())
        layers[place] = layer()
        return torch.nn.Sequential(*layers)

    return wrap


def _known(count: int = 160) -> torch.Tensor:
    return images_of("grey", "test").images[:count]


def _winners(name: str) -> Callable[[], Subject]:
    def build() -> Subject:
        rough = Twin(model=trained(name, PLANS[name]), draws=12, spread=0.05)
        return digit_subject(
            trained(name, PLANS[name]), rough, Twin(model=digit_network("plain-1"))
        )

    return build


def _soft(name: str, soft: Callable[[], nn.Module]) -> Callable[[], Subject]:
    def build() -> Subject:
        other = soft()
        other.load_state_dict(trained(name, PLANS[name]).state_dict())
        other.eval().requires_grad_(requires_grad=False)
        return digit_subject(trained(name, PLANS[name]), Twin(model=other))

    return build


def _thermometer_specimen() -> Specimen:
    return Specimen(
        name="thermometer",
        mechanism="quantised-input",
        label="masked",
        build=_soft("thermometer", lambda: thermometer(slope=20.0)),
        about="trained on ten levels of each pixel, hard steps",
    )


def _mask_reader_specimen() -> Specimen:
    return Specimen(
        name="rounded-mask-alone",
        mechanism="rounded-saliency-mask",
        label="masked",
        build=_soft("mask-reader", soft_mask_reader),
        about="trained on a saliency mask in five levels, and on nothing else",
    )


LOGITS = (
    changed("logits-x100", "logit-scale", "plain-0", scaled(100.0), "undefended, logits x 100"),
    changed("logits-x1000", "logit-scale", "plain-gelu", scaled(1e3), "undefended, logits x 1000"),
    changed("logits-x1000-robust", "logit-scale", "pgd-0", scaled(1e3), "robust, logits x 1000"),
    changed("tanh-logits", "bounded-logits", "plain-0", bounded(0.5), "tanh of half the logits"),
    changed("tanh-logits-token", "bounded-logits", "vit-plain", bounded(1.0), "tanh of logits"),
    changed(
        "softsign-logits", "bounded-logits", "plain-1", softsign(8.0, 30.0), "30 softsign(8 z)"
    ),
    changed("labels", "hard-labels", "plain-0", one_hot, "one-hot labels without a graph"),
    changed("labels-attached", "hard-labels", "pgd-0", attached_one_hot, "labels plus 0 x logits"),
    changed(
        "probabilities", "hard-labels", "plain-1", probabilities(10.0), "softmax of 10 x logits"
    ),
    changed(
        "rounded-probabilities",
        "hard-labels",
        "multilayer-0",
        rounded_probabilities,
        "probabilities in two digits",
    ),
)
INPUTS = (
    behind("rounded-16", "quantised-input", "plain-0", lambda: Rounded(16), "16 grey levels"),
    behind("rounded-8-robust", "quantised-input", "pgd-0", lambda: Rounded(8), "8 grey levels"),
    behind(
        "rounded-colour",
        "quantised-input",
        "colour-plain",
        lambda: Rounded(32),
        "32 levels of each colour",
        data="colour",
    ),
    _thermometer_specimen(),
    behind("jpeg-8", "jpeg-rounding", "plain-0", lambda: BlockTransform(8, 0.1), "8 x 8 blocks"),
    behind(
        "jpeg-4", "jpeg-rounding", "plain-batchnorm-0", lambda: BlockTransform(4, 0.15), "4 x 4"
    ),
    _mask_reader_specimen(),
    behind(
        "rounded-mask-product",
        "rounded-saliency-mask",
        "plain-1",
        lambda: Masked(rounded_mask, rounded_after=20),
        "images times a rounded mask, the product in 20 levels",
    ),
    behind(
        "detached-mask",
        "detached-saliency-mask",
        "plain-0",
        lambda: Masked(torch.Tensor.detach),
        "images times a positive mask whose gradient is cut",
        label="suspicious-at-least",
    ),
    behind(
        "detached-mask-robust",
        "detached-saliency-mask",
        "pgd-0",
        lambda: Masked(torch.Tensor.detach),
        "the same on a robust network",
        label="suspicious-at-least",
    ),
)
GRADIENTS = (
    behind(
        "backward-negated", "wrong-backward", "plain-0", lambda: WrongBackward(torch.neg), "input"
    ),
    behind(
        "backward-shuffled", "wrong-backward", "pgd-0", lambda: WrongBackward(shuffled), "input"
    ),
    wrapped(
        "backward-relu",
        "wrong-backward",
        "plain-1",
        _replaced(1, WrongRelu),
        "the first ReLU passes back what it stopped",
    ),
    wrapped(
        "hook-zero",
        "gradient-hooks",
        "plain-0",
        lambda net: hooked(net, "3", torch.zeros_like),
        "a module hook makes the gradient of a convolution zero",
    ),
    wrapped(
        "hook-flip",
        "gradient-hooks",
        "plain-batchnorm-0",
        lambda net: hooked(net, "4", torch.neg),
        "a module hook flips the gradient in the middle",
    ),
    wrapped(
        "hook-absolute",
        "gradient-hooks",
        "pgd-0",
        lambda net: HookedInput(net, torch.abs),
        "a tensor hook loses the signs",
    ),
    behind("ripple", "gradient-noise", "plain-0", lambda: Ripple(0.01, 3e3), "x + .01 sin(3000 x)"),
    wrapped(
        "rippled-logits",
        "gradient-noise",
        "plain-1",
        lambda net: RippledLogits(net, pixels=64, height=0.05, frequency=2e3),
        "logits + .05 sin(2000 r x)",
    ),
)
RANDOM = (
    wrapped(
        "random-ripple",
        "test-time-randomness",
        "plain-0",
        lambda net: RandomRipple(net, pixels=64, height=0.05, frequency=500.0),
        "logits + .05 sin(500 r x + phase), the phase drawn anew",
        random=True,
        draws=8,
    ),
    wrapped(
        "random-ripple-robust",
        "test-time-randomness",
        "pgd-0",
        lambda net: RandomRipple(net, pixels=64, height=0.05, frequency=500.0),
        "the same on a robust network",
        random=True,
        draws=8,
    ),
    behind(
        "dithered",
        "test-time-randomness",
        "plain-1",
        lambda: Dithered(24),
        "24 levels, rounded up or down at random",
        random=True,
    ),
    behind(
        "dithered-robust",
        "test-time-randomness",
        "pgd-0",
        lambda: Dithered(16),
        "16 levels, rounded up or down at random",
        random=True,
    ),
)
BEHAVIOUR = (
    wrapped(
        "gradient-decoy",
        "hidden-state",
        "plain-0",
        lambda net: GradientDecoy(net, digit_network("linear-0")),
        "where gradients are recorded a linear model answers",
    ),
    wrapped("call-counter", "hidden-state", "plain-1", CallCounter, "the gradient wanders"),
    wrapped(
        "batch-statistics",
        "hidden-state",
        "plain-0",
        lambda net: BatchStatistics(net, 24),
        "rounded around the mean of the batch",
    ),
    wrapped(
        "steep-inside",
        "data-shell",
        "plain-0",
        lambda net: Shell(net, _known(), radius=1.0, inside=scaled(1e3)),
        "logits x 1000 near the test images",
    ),
    wrapped(
        "flat-inside",
        "data-shell",
        "plain-1",
        lambda net: Shell(net, _known(), radius=0.95, inside=torch.Tensor.detach),
        "no gradient near the test images",
    ),
    wrapped(
        "decoy-outside",
        "data-shell",
        "pgd-0",
        lambda net: OffTheData(net, digit_network("linear-0"), _known(), parts=24, residual=0.35),
        "away from the main components of the data a decoy gives the gradient",
    ),
)
WINNERS = (
    Specimen(
        name="winners",
        mechanism="k-winners-take-all",
        label="masked",
        build=_winners("winners-plain"),
        about="a tenth of the values of each layer stays",
        searched=True,
    ),
    Specimen(
        name="winners-pgd",
        mechanism="k-winners-take-all",
        label="masked",
        build=_winners("winners-pgd"),
        about="adversarially trained, 15 % stay",
        searched=True,
    ),
)


def open_specimens() -> tuple[Specimen, ...]:
    """All of them; building one is what costs."""
    return (*LOGITS, *INPUTS, *GRADIENTS, *RANDOM, *BEHAVIOUR, *WINNERS)
