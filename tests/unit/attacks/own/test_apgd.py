from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from oracles.linear_minimum import smallest_radius
from oracles.slow_apgd import slow_apgd

from fgmf.attacks.own import Apgd, MinimumMargin
from fgmf.attacks.own.apgd import checkpoints
from fgmf.attacks.own.apgd_l1 import SparseApgd
from fgmf.attacks.own.balls import region_around
from fgmf.attacks.own.engine import Answer
from fgmf.attacks.own.lanes import Lanes, LaneStart
from fgmf.attacks.projection import distances
from fgmf.seeding import image_generator
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from fgmf.attacks.own.task import AttackTask
    from fgmf.datasets import Samples
    from fgmf.types import Norm


def test_checkpoints_of_one_hundred_steps_are_the_published_ones() -> None:
    assert checkpoints(100) == [0, 22, 41, 57, 70, 80, 87, 93, 99]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("steps", [5, 40])
def test_every_point_is_that_of_the_slow_algorithm(
    norm: Norm,
    steps: int,
    trained_digits: Callable[[str], nn.Module],
    digits_test: Samples,
    make_task: Callable[..., AttackTask],
) -> None:
    model = trained_digits("robust").double()
    images, labels = digits_test.images[:6].double(), digits_test.labels[:6]
    epsilon = {"linf": 0.05, "l2": 0.2}[norm]
    asked: list[torch.Tensor] = []

    def recording(points: torch.Tensor) -> torch.Tensor:
        asked.append(points.detach().clone())
        return model(points)

    attack = Apgd(loss="margin", steps=steps, leave_when_broken=False)
    attack.run(recording, make_task(images, labels, norm, epsilon, clean_logits=model(images)))
    assert len(asked) == steps + 1
    for row in range(6):

        def value_and_gradient(point: torch.Tensor, row: int = row) -> tuple[float, torch.Tensor]:
            leaf = point[None].clone().requires_grad_()
            logits = model(leaf)[0]
            others = logits.clone()
            others[labels[row]] = -torch.inf
            margin = others.max() - logits[labels[row]]
            (gradient,) = torch.autograd.grad(margin, leaf)
            return float(margin.detach()), gradient[0]

        slow = slow_apgd(
            value_and_gradient, images[row], asked[0][row], epsilon=epsilon, norm=norm, steps=steps
        )
        for k, expected in enumerate(slow):
            # L2 keeps a millionth of the radius free on each projection.
            assert torch.allclose(asked[k][row], expected, atol=1e-6), (row, k)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize(
    "attack",
    [
        Apgd(steps=50, restarts=5),
        Apgd(loss="dlr", steps=50, targets=3),
        MinimumMargin(steps=50),
    ],
    ids=repr,
)
def test_linear_models_fall_where_the_closed_form_says(
    norm: Norm,
    attack: Any,
    linear: Any,
    box_images: torch.Tensor,
    make_task: Callable[..., AttackTask],
) -> None:
    labels = linear(box_images).argmax(dim=1)
    exact = torch.tensor(
        [
            smallest_radius(
                linear.weights.numpy(),
                linear.bias.numpy(),
                image.double().flatten().numpy(),
                int(label),
                norm,
                (0.0, 1.0),
            )
            for image, label in zip(box_images, labels, strict=True)
        ]
    )
    epsilon = float(exact.median())
    outcome = attack.run(linear, make_task(box_images, labels, norm, epsilon))
    assert not bool(outcome.broken[exact > epsilon * (1 + 1e-6)].any())
    # Untargeted losses may climb towards a class that is not the nearest.
    slack = 1.02 if attack.targets else 1.3
    assert bool(outcome.broken[exact < epsilon / slack].all())
    assert int(outcome.broken.sum()) > 10


def test_saturated_logits_do_not_stop_cross_entropy(
    standard_digits_model: nn.Module, digits_test: Samples, make_task: Callable[..., AttackTask]
) -> None:
    images, labels = digits_test.images[:100], digits_test.labels[:100]
    task = make_task(images, labels, "linf", 0.15)
    attack = Apgd(steps=20, random_start=False)
    with torch.no_grad():
        plain = attack.run(standard_digits_model, task).broken.sum()
        scaled = attack.run(lambda x: 1000 * standard_digits_model(x), task).broken.sum()
    assert int(plain) > 60
    assert int(scaled) > int(plain) - 15  # the log-odds become a margin, which is a little weaker


def test_restarts_and_targets_never_lose_an_image(
    standard_digits_model: nn.Module, digits_test: Samples, make_task: Callable[..., AttackTask]
) -> None:
    images, labels = digits_test.images[:80], digits_test.labels[:80]
    task = make_task(images, labels, "linf", 0.12)
    one = Apgd(steps=10).run(standard_digits_model, task).broken
    three = Apgd(steps=10, restarts=3).run(standard_digits_model, task).broken
    assert bool((three | ~one).all())
    assert int(three.sum()) > int(one.sum())


def test_l1_phases_shrink_to_the_ball_and_steps_are_sparse() -> None:
    clean = torch.full((1, 1, 8, 8), 0.5)
    threat = ThreatModel(norm="l1", epsilon=1.0)
    region = region_around(clean, threat)
    method = SparseApgd(loss="ce", steps=20, random_start=False)
    none = torch.zeros(1, dtype=torch.long)
    lanes = Lanes(position=none, restart=none, target=none - 1)
    start = LaneStart(
        lanes=lanes, region=region, threat=threat, generators=[image_generator(0, "x")]
    )
    state = method.begin(start)
    assert torch.equal(state.points, clean)
    gradient = torch.linspace(1, 2, 64).reshape(1, 1, 8, 8)
    sizes, changed = [], []
    for step in range(21):
        loss = torch.tensor([float(step)], dtype=torch.float64)
        state = method.advance(state, region, threat, Answer(loss=loss, gradient=gradient))
        sizes.append(float(distances(clean, state.points, "l1")))
        changed.append(int((state.points != clean).sum()))
    assert max(sizes[:5]) == pytest.approx(3.0, rel=1e-4)
    assert max(sizes[5:11]) == pytest.approx(2.0, rel=1e-4)
    assert max(sizes[11:]) <= 1.0
    assert changed[0] == round(0.2 * 64)
    assert changed[-1] < changed[0]
