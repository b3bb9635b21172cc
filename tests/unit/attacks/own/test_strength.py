"""The attacks find at least what Foolbox's PGD finds, on two trained models."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch

from fgmf.attacks.own import Apgd, MinimumMargin, Square

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from fgmf.attacks.own.task import AttackTask
    from fgmf.datasets import Samples


EPSILON = {"standard": 0.15, "robust": 0.2}
COUNT = 120


@pytest.fixture(scope="module")
def pgd_robust_accuracy(
    trained_digits: Callable[[str], nn.Module], digits_test: Samples
) -> dict[str, float]:
    """Robust accuracy under Foolbox PGD-40 with 5 restarts, by model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from foolbox.attacks.projected_gradient_descent import (
            LinfProjectedGradientDescentAttack,
        )
        from foolbox.models.pytorch import PyTorchModel

    found = {}
    for name, epsilon in EPSILON.items():
        torch.manual_seed(0)
        attack = LinfProjectedGradientDescentAttack(steps=40, rel_stepsize=0.1)
        model = PyTorchModel(trained_digits(name), bounds=(0, 1), device="cpu")
        images, labels = digits_test.images[:COUNT], digits_test.labels[:COUNT]
        robust = torch.ones(COUNT, dtype=torch.bool)
        for _ in range(5):
            robust &= ~attack(model, images, labels, epsilons=epsilon)[2]
        found[name] = float(robust.double().mean())
    return found


def robust_accuracy(
    attack: Any,
    name: str,
    trained_digits: Callable[[str], nn.Module],
    digits_test: Samples,
    make_task: Callable[..., AttackTask],
) -> float:
    images, labels = digits_test.images[:COUNT], digits_test.labels[:COUNT]
    outcome = attack.run(trained_digits(name), make_task(images, labels, "linf", EPSILON[name]))
    return float((~outcome.broken).double().mean())


@pytest.mark.parametrize("name", ["standard", "robust"])
@pytest.mark.parametrize(
    "attack",
    [
        Apgd(steps=40, restarts=5),
        Apgd(loss="dlr", steps=40, targets=5),
        Apgd(loss="margin", steps=40, targets=5),
        MinimumMargin(targets=5, steps=30),
    ],
    ids=repr,
)
def test_no_weaker_than_pgd_40_with_5_restarts(
    name: str,
    attack: Any,
    pgd_robust_accuracy: dict[str, float],
    trained_digits: Callable[[str], nn.Module],
    digits_test: Samples,
    make_task: Callable[..., AttackTask],
) -> None:
    found = robust_accuracy(attack, name, trained_digits, digits_test, make_task)
    assert found <= pgd_robust_accuracy[name] + 0.005


@pytest.mark.parametrize("name", ["standard", "robust"])
def test_square_comes_near_to_white_box(
    name: str,
    trained_digits: Callable[[str], nn.Module],
    digits_test: Samples,
    make_task: Callable[..., AttackTask],
) -> None:
    arguments = (name, trained_digits, digits_test, make_task)
    white = robust_accuracy(MinimumMargin(targets=9, steps=30), *arguments)
    black = robust_accuracy(Square(queries=1000), *arguments)
    assert white <= black + 0.005
    assert black <= white + 0.06
