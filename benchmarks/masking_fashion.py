"""Open and honest specimens on Fashion-MNIST: the networks of `fashion_models`, and what is put
around them.

Images are test images that no figure of attack strength stands on; epsilon is .1.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.fashion_models import EPSILON, Shelf, held_out
from benchmarks.masking_specimens import specimens_module
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from specimens.value import Specimen, Subject
    from torch import nn

    Wrap = Callable[..., nn.Module]

FIRST, COUNT = 3000, 96


def fashion_network(name: str) -> nn.Module:
    """A trained network, anew."""
    return Shelf.usual().load(name)


def fashion_subject(
    model: nn.Module, *twins: Any, epsilon: float = EPSILON, random: bool = False
) -> Subject:
    """A model of garments."""
    samples = held_out(FIRST, FIRST + COUNT)
    subject: Subject = specimens_module("value").Subject(
        model=model.eval().requires_grad_(requires_grad=False),
        images=samples.images,
        labels=samples.labels,
        threat=ThreatModel(norm="linf", epsilon=epsilon, bounds=(0.0, 1.0)),
        twins=twins,
        random=random,
    )
    return subject


def fashion_masked(  # noqa: PLR0913 - one row of a catalogue
    name: str,
    mechanism: str,
    network: str,
    wrap: Wrap,
    about: str,
    *,
    straight: Wrap | None = None,
    random: bool = False,
    label: str = "masked",
) -> Specimen:
    """A network behind something; the network itself is the twin, with `straight` another."""
    value = specimens_module("value")

    def build() -> Subject:
        twins = [value.Twin(model=fashion_network(network))]
        if straight is not None:
            twins.append(value.Twin(model=straight(fashion_network(network)).eval()))
        if random:
            averaged = wrap(fashion_network(network)).eval().requires_grad_(requires_grad=False)
            twins.append(value.Twin(model=averaged, draws=8))
        return fashion_subject(wrap(fashion_network(network)), *twins, random=random)

    specimen: Specimen = value.Specimen(
        name=f"fashion-{name}", mechanism=mechanism, label=label, build=build, about=about
    )
    return specimen


def _honest(
    name: str,
    networks: tuple[str, ...],
    about: str,
    *,
    make: Wrap | None = None,
    epsilon: float = EPSILON,
) -> Specimen:
    def build() -> Subject:
        loaded = [fashion_network(network) for network in networks]
        model = loaded[0] if make is None else make(*loaded)
        return fashion_subject(model, epsilon=epsilon)

    specimen: Specimen = specimens_module("value").Specimen(
        name=f"fashion-{name}", mechanism="honest", label="honest", build=build, about=about
    )
    return specimen


def fashion_honest() -> tuple[Specimen, ...]:
    """Trained networks and honest things around them."""
    fronts, making = specimens_module("honest.fronts"), specimens_module("making")
    names = ("undefended", "n-fgsm", "pgd-7", "trades", "vit", "hybrid")

    def straight(network: nn.Module) -> nn.Module:
        front: nn.Module = making.Behind(fronts.StraightThrough(64), network)
        return front

    return (
        *(_honest(name, (name,), "a trained network") for name in names),
        _honest("small-epsilon", ("undefended",), "undefended at .02", epsilon=0.02),
        _honest("half-epsilon", ("pgd-7",), "robust at half its epsilon", epsilon=0.05),
        _honest("vit-half-epsilon", ("vit",), "robust at half its epsilon", epsilon=0.05),
        _honest("log-softmax", ("pgd-7",), "log-probabilities", make=fronts.LogSoftmax),
        _honest("ensemble", ("n-fgsm", "pgd-7"), "mean logits of two", make=fronts.Average),
        _honest("straight-through", ("hybrid",), "64 levels, straight through", make=straight),
        _honest("louder", ("n-fgsm",), "logits x 3", make=partial(fronts.LoudLogits, factor=3.0)),
        _honest("double", ("undefended",), "computes in float64", make=fronts.Double),
    )


def fashion_open() -> tuple[Specimen, ...]:
    """Masked ones of the open mechanisms."""
    logits, inputs = specimens_module("open.logits"), specimens_module("open.inputs")
    gradients, draws = specimens_module("open.gradients"), specimens_module("open.randomness")
    behaviour, behind = specimens_module("open.behaviour"), specimens_module("making").Behind

    def changed(change: Callable[[torch.Tensor], torch.Tensor]) -> Wrap:
        return lambda network: logits.ChangedLogits(network, change)

    def front(make: Callable[[], nn.Module]) -> Wrap:
        return lambda network: behind(make(), network)

    known = held_out(FIRST, FIRST + COUNT).images
    return (
        fashion_masked(
            "logits-x1000", "logit-scale", "pgd-7", changed(logits.scaled(1e3)), "logits x 1000"
        ),
        fashion_masked(
            "tanh-logits", "bounded-logits", "undefended", changed(logits.bounded(0.5)), "tanh"
        ),
        fashion_masked(
            "labels", "hard-labels", "hybrid", changed(logits.attached_one_hot), "labels"
        ),
        fashion_masked(
            "rounded",
            "quantised-input",
            "pgd-7",
            front(partial(inputs.Rounded, 32)),
            "32 grey levels",
        ),
        fashion_masked(
            "jpeg",
            "jpeg-rounding",
            "undefended",
            front(partial(inputs.BlockTransform, 4, 0.1)),
            "4 x 4 blocks",
        ),
        fashion_masked(
            "backward-shuffled",
            "wrong-backward",
            "vit",
            front(partial(gradients.WrongBackward, gradients.shuffled)),
            "another order of pixels backward",
        ),
        fashion_masked(
            "hook-absolute",
            "gradient-hooks",
            "n-fgsm",
            lambda network: gradients.HookedInput(network, torch.abs),
            "a tensor hook loses the signs",
        ),
        fashion_masked(
            "ripple",
            "gradient-noise",
            "trades",
            front(partial(gradients.Ripple, 0.005, 5e3)),
            "x + .005 sin(5000 x)",
        ),
        fashion_masked(
            "random-ripple",
            "test-time-randomness",
            "undefended",
            lambda network: draws.RandomRipple(network, pixels=784, height=0.05, frequency=300.0),
            "logits + .05 sin(300 r x + phase)",
            random=True,
        ),
        fashion_masked(
            "gradient-decoy",
            "hidden-state",
            "pgd-7",
            lambda network: behaviour.GradientDecoy(network, fashion_network("vit")),
            "where gradients are recorded another network answers",
        ),
        fashion_masked(
            "steep-inside",
            "data-shell",
            "undefended",
            lambda network: behaviour.Shell(network, known, radius=2.2, inside=logits.scaled(1e4)),
            "logits x 10000 near the test images",
        ),
        fashion_masked(
            "rounded-mask-product",
            "rounded-saliency-mask",
            "undefended",
            front(
                partial(
                    inputs.Masked, lambda saliency: (4 * saliency).round() / 4, rounded_after=64
                )
            ),
            "images times a rounded mask, the product in 64 levels",
        ),
        fashion_masked(
            "detached-mask",
            "detached-saliency-mask",
            "pgd-7",
            front(partial(inputs.Masked, torch.Tensor.detach)),
            "images times a positive mask whose gradient is cut",
            label="suspicious-at-least",
        ),
    )
