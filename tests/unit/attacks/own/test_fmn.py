from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from oracles.linear_minimum import smallest_radius

from fgmf.attacks.criteria import Criterion
from fgmf.attacks.own import Apgd, MinimumNorm
from fgmf.attacks.projection import distances
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from fgmf.attacks.own.task import AttackTask
    from fgmf.datasets import Samples
    from fgmf.types import Norm


NORMS = ["linf", "l2", "l1"]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 4, 12])
def test_radii_of_linear_models_are_the_closed_form(
    norm: Norm,
    classes: int,
    make_linear: Any,
    box_images: torch.Tensor,
    make_task: Callable[..., AttackTask],
) -> None:
    model = make_linear(7, classes=classes)
    labels = model(box_images).argmax(dim=1)
    outcome = MinimumNorm(steps=20).run(model, make_task(box_images, labels, norm))
    for at, image in enumerate(box_images):
        exact = smallest_radius(
            model.weights.numpy(),
            model.bias.numpy(),
            image.double().flatten().numpy(),
            int(labels[at]),
            norm,
            (0.0, 1.0),
        )
        found = float(outcome.radii[at])
        if math.isinf(exact):
            assert math.isinf(found)
        else:
            assert exact * (1 - 1e-5) - 1e-7 <= found <= exact * 1.01


@pytest.mark.parametrize("norm", NORMS)
def test_radii_are_distances_of_misclassified_images(
    norm: Norm,
    standard_digits_model: nn.Module,
    digits_test: Samples,
    make_task: Callable[..., AttackTask],
) -> None:
    images, labels = digits_test.images[:60], digits_test.labels[:60]
    outcome = MinimumNorm(steps=20).run(standard_digits_model, make_task(images, labels, norm))
    right = standard_digits_model(images).argmax(dim=1) == labels
    assert bool(outcome.found.all())
    assert torch.allclose(distances(images, outcome.adversarial, norm), outcome.radii, atol=1e-9)
    assert bool((standard_digits_model(outcome.adversarial).argmax(dim=1) != labels).all())
    assert torch.equal(outcome.radii == 0, ~right)
    assert bool(((outcome.adversarial >= 0) & (outcome.adversarial <= 1)).all())


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.1), ("l2", 0.5), ("l1", 1.2)])
def test_the_curve_is_no_higher_than_apgd_finds(
    norm: Norm,
    epsilon: float,
    standard_digits_model: nn.Module,
    digits_test: Samples,
    make_task: Callable[..., AttackTask],
) -> None:
    images, labels = digits_test.images[:100], digits_test.labels[:100]
    task = make_task(images, labels, norm, epsilon)
    outcome = MinimumNorm().run(standard_digits_model, task)
    apgd = Apgd(loss="margin", steps=40, targets=3).run(standard_digits_model, task)
    assert outcome.robust_accuracy([epsilon])[0] <= float((~apgd.broken).double().mean()) + 0.02


def test_the_curve_falls_from_clean_accuracy(
    standard_digits_model: nn.Module, digits_test: Samples, make_task: Callable[..., AttackTask]
) -> None:
    images, labels = digits_test.images[:60], digits_test.labels[:60]
    outcome = MinimumNorm(steps=10).run(standard_digits_model, make_task(images, labels))
    curve = outcome.robust_accuracy([0.0, 0.05, 0.1, 0.2, 1.0])
    clean = float((standard_digits_model(images).argmax(dim=1) == labels).double().mean())
    assert curve[0] == pytest.approx(clean)
    assert curve == sorted(curve, reverse=True)
    assert curve[-1] == 0.0


def test_results_do_not_depend_on_the_batch_size(
    trained_digits: Callable[[str], nn.Module],
    digits_test: Samples,
    make_task: Callable[..., AttackTask],
) -> None:
    model = trained_digits("standard").double()
    images, labels = digits_test.images[:40].double(), digits_test.labels[:40]
    task = make_task(images, labels, "l2")
    large = MinimumNorm(steps=15).run(model, task, batch_size=128)
    small = MinimumNorm(steps=15).run(model, task, batch_size=7)
    assert torch.allclose(large.radii, small.radii, rtol=1e-6)
    assert torch.equal(large.forward_passes, small.forward_passes)


def test_passes_are_counted_exactly(
    linear: Any, box_images: torch.Tensor, make_task: Callable[..., AttackTask]
) -> None:
    labels = linear(box_images).argmax(dim=1)
    linear.rows = 0
    outcome = MinimumNorm(steps=7, targets=2, polish=1, bisections=3).run(
        linear, make_task(box_images, labels)
    )
    assert int(outcome.forward_passes.sum()) == linear.rows
    # clean, 3 candidates, 2 lanes, polish (2 asks and a try), bisection
    assert outcome.forward_passes.tolist() == [1 + 3 + 2 * 7 + 3 + 3] * 40
    assert outcome.backward_passes.tolist() == [3 + 2 * 7 + 1] * 40


def test_targeted_radii_are_to_the_target(
    linear: Any, box_images: torch.Tensor, make_task: Callable[..., AttackTask]
) -> None:
    labels = linear(box_images).argmax(dim=1)
    criterion = Criterion(kind="targeted", labels=labels, targets=(labels + 1) % 4)
    task = make_task(box_images, labels, "l2")
    any_class = MinimumNorm(steps=20).run(linear, task)
    aimed = MinimumNorm(steps=20).run(
        linear, make_task(box_images, labels, "l2", criterion=criterion)
    )
    assert bool((aimed.radii >= any_class.radii * 0.99).all())
    found = aimed.radii.isfinite()
    hit = linear(aimed.adversarial[found]).argmax(dim=1) == criterion.targets[found]
    assert bool(hit.all())


def test_where_nothing_can_be_found_the_radius_is_infinite(
    box_images: torch.Tensor, make_task: Callable[..., AttackTask]
) -> None:
    def constant(images: torch.Tensor) -> torch.Tensor:
        return torch.tensor([1.0, 0.0]) + 0 * images.flatten(1)[:, :2]

    outcome = MinimumNorm(steps=5).run(
        constant, make_task(box_images, torch.zeros(40, dtype=torch.long))
    )
    assert not bool(outcome.found.any())
    assert bool(outcome.vanished.all())
    assert outcome.robust_accuracy([1e6]) == [1.0]
    assert torch.equal(outcome.adversarial, box_images)


def test_counts_must_be_positive() -> None:
    with pytest.raises(InvalidInput):
        MinimumNorm(steps=0)
