"""The Foolbox face of our own attacks."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch

from fgmf.attacks import foolbox_focused, foolbox_own
from fgmf.attacks.own import FocusedMargin
from fgmf.attacks.projection import distances
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from torch import nn

    from fgmf.datasets import Samples


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from foolbox.criteria import Misclassification, TargetedMisclassification
    from foolbox.models.pytorch import PyTorchModel

FIXED = {
    "LinfAPGD": {"steps": 10},
    "L2APGD": {"steps": 10, "loss": "dlr"},
    "L1APGD": {"steps": 20},
    "LinfMinimumMargin": {"steps": 8},
    "L2MinimumMargin": {"steps": 8},
    "L1MinimumMargin": {"steps": 12},
    "LinfSquare": {"queries": 60},
    "L2Square": {"queries": 60},
    "LinfRandomSearch": {"queries": 60},
    "L2RandomSearch": {"queries": 200},
    "L1RandomSearch": {"queries": 60},
}
MINIMUM = ["LinfMinimumNorm", "L2MinimumNorm", "L1MinimumNorm"]
EPSILON = {"linf": 0.12, "l2": 0.6, "l1": 2.0}


@pytest.fixture
def model(standard_digits_model: nn.Module) -> PyTorchModel:
    return PyTorchModel(standard_digits_model, bounds=(0, 1), device="cpu")


@pytest.fixture
def images(digits_test: Samples) -> torch.Tensor:
    return digits_test.images[:40]


@pytest.fixture
def labels(digits_test: Samples) -> torch.Tensor:
    return digits_test.labels[:40]


@pytest.mark.parametrize("name", FIXED)
def test_called_as_foolbox_attacks_are(
    name: str, model: Any, images: torch.Tensor, labels: torch.Tensor
) -> None:
    attack = getattr(foolbox_own, name)(**FIXED[name])
    epsilon = EPSILON[attack.norm]
    raw, clipped, success = attack(model, images, labels, epsilons=epsilon)
    outcome = attack.measure(model, images, labels, epsilon=epsilon)
    assert torch.equal(raw, outcome.adversarial)
    assert torch.equal(success, outcome.broken)
    assert torch.allclose(raw, clipped, atol=1e-5)
    assert float(distances(images, raw, attack.norm).max()) <= epsilon * (1 + 1e-9)
    assert int(success.sum()) >= 5
    assert name in repr(attack)


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_the_focused_attack_is_called_like_the_others(
    norm: str, model: Any, images: torch.Tensor, labels: torch.Tensor
) -> None:
    settings = FocusedMargin(steps=4, long_targets=2, long_steps=4)
    attack = getattr(foolbox_focused, f"{norm}FocusedMargin")(settings=settings)
    epsilon = EPSILON[norm.lower()]
    raw, _, success = attack(model, images, labels, epsilons=epsilon)
    outcome = attack.repeat(2).measure(model, images, labels, epsilon=epsilon)
    assert float(distances(images, raw, attack.norm).max()) <= epsilon * (1 + 1e-9)
    assert int(outcome.broken.sum()) >= int(success.sum()) >= 5
    assert repr(settings) in repr(attack)


def test_several_epsilons_and_criteria(
    model: Any, images: torch.Tensor, labels: torch.Tensor
) -> None:
    attack = foolbox_own.LinfAPGD(steps=5)
    raw, _, success = attack(model, images, Misclassification(labels), epsilons=[0.02, 0.2])
    assert len(raw) == 2
    assert int(success[0].sum()) < int(success[1].sum())
    targets = (labels + 1) % 10
    _, _, hit = attack(model, images, TargetedMisclassification(targets), epsilons=0.4)
    assert bool(hit.any())


@pytest.mark.parametrize("name", MINIMUM)
def test_minimisation_attacks_give_the_nearest(
    name: str, model: Any, images: torch.Tensor, labels: torch.Tensor
) -> None:
    attack = getattr(foolbox_own, name)(steps=15)
    raw, _, success = attack(model, images, labels, epsilons=None)
    outcome = attack.measure(model, images, labels)
    assert bool(success.all())
    assert torch.allclose(distances(images, raw, attack.norm), outcome.radii)
    epsilon = float(outcome.radii.median())
    _, _, within = attack(model, images, labels, epsilons=epsilon * 1.001)
    assert float(within.double().mean()) == pytest.approx(0.5, abs=0.06)
    assert name in repr(attack)


def test_repeating_adds_restarts_with_draws_of_their_own(
    model: Any, images: torch.Tensor, labels: torch.Tensor
) -> None:
    attack = foolbox_own.LinfAPGD(steps=5, seed=3)
    five = attack.repeat(5)
    assert type(five) is foolbox_own.LinfAPGD
    once = attack.measure(model, images, labels, epsilon=0.1)
    often = five.measure(model, images, labels, epsilon=0.1)
    assert bool((often.broken | ~once.broken).all())
    assert int(often.broken.sum()) > int(once.broken.sum())


def test_the_parameters_get_no_gradient(
    model: Any, images: torch.Tensor, labels: torch.Tensor, standard_digits_model: nn.Module
) -> None:
    foolbox_own.LinfAPGD(steps=2)(model, images, labels, epsilons=0.1)
    foolbox_own.LinfMinimumNorm(steps=2)(model, images, labels, epsilons=0.1)
    assert all(parameter.grad is None for parameter in standard_digits_model.parameters())


def test_other_bounds_are_the_models_own(
    standard_digits_model: nn.Module, images: torch.Tensor, labels: torch.Tensor
) -> None:
    class Doubled(torch.nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return standard_digits_model(inputs / 2)

    wide = PyTorchModel(Doubled().eval(), bounds=(0, 2), device="cpu")
    narrow = PyTorchModel(standard_digits_model, bounds=(0, 1), device="cpu")
    attack = foolbox_own.LinfAPGD(steps=10, loss="margin")
    twice = attack.measure(wide, images * 2, labels, epsilon=0.24).broken
    once = attack.measure(narrow, images, labels, epsilon=0.12).broken
    assert abs(int(twice.sum()) - int(once.sum())) <= 2  # other keys, so other starts


def test_what_is_not_understood_is_refused(
    model: Any, images: torch.Tensor, labels: torch.Tensor
) -> None:
    import eagerpy

    attack = foolbox_own.LinfAPGD(steps=1)
    with pytest.raises(InvalidInput, match="torch tensor"):
        attack.measure(model, eagerpy.numpy.zeros((2, 1, 8, 8)), labels, epsilon=0.1)
    both = Misclassification(labels) & Misclassification(labels)
    with pytest.raises(InvalidInput, match="got"):
        attack.measure(model, images, both, epsilon=0.1)
