"""Held-out specimens on Fashion-MNIST: whoever writes a detector does not open this file."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks.masking_fashion import fashion_masked, fashion_network, fashion_subject
from benchmarks.masking_specimens import specimens_module
from fgmf.datasets import fashion_mnist

if TYPE_CHECKING:
    from specimens.value import Specimen, Subject
    from torch import nn


def _voting() -> Subject:
    names = ("n-fgsm", "pgd-7", "trades")
    value, fronts = specimens_module("value"), specimens_module("honest.fronts")
    votes = specimens_module("held_out.ensembles").Votes
    twin = value.Twin(model=fronts.Average(*map(fashion_network, names)))
    return fashion_subject(votes(*map(fashion_network, names)), twin)


def fashion_held_out() -> tuple[Specimen, ...]:
    """Masked ones of the held-out mechanisms."""
    blocks, floats = specimens_module("held_out.blocks"), specimens_module("held_out.floats")
    cleaning, value = specimens_module("held_out.purifying"), specimens_module("value")
    behind = specimens_module("making").Behind

    def code_book() -> nn.Module:
        book: nn.Module = cleaning.CodeBook(fashion_mnist(split="train").images[:500], size=400)
        return book

    def cleaned(network: nn.Module) -> nn.Module:
        model: nn.Module = behind(code_book(), network)
        return model

    def straight(network: nn.Module) -> nn.Module:
        model: nn.Module = behind(cleaning.StraightPast(code_book()), network)
        return model

    return (
        fashion_masked(
            "through-numpy",
            "blocked-gradient",
            "vit",
            lambda network: behind(blocks.ThroughNumpy(), network),
            "a gamma correction in numpy",
        ),
        fashion_masked(
            "code-book",
            "purification",
            "pgd-7",
            cleaned,
            "nearest known patches",
            straight=straight,
        ),
        fashion_masked(
            "smoothing-loop",
            "purification",
            "undefended",
            lambda network: behind(cleaning.Smoothing(), network),
            "total variation is minimised inside",
        ),
        fashion_masked(
            "gamma",
            "vanishing-exploding",
            "pgd-7",
            lambda network: behind(floats.Gamma(), network),
            "x^.4^2.5: no finite slope at black",
        ),
        fashion_masked(
            "half-precision",
            "vanishing-exploding",
            "undefended",
            partial(floats.HalfLogits, scale=500.0, louder=8.0),
            "logits x 8 through float16",
        ),
        value.Specimen(
            name="fashion-votes",
            mechanism="ensemble-rejection",
            label="masked",
            build=_voting,
            about="three robust networks vote",
        ),
    )
