"""The focused attack: who is looked at again, how long, and that nothing is lost on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from fgmf.attacks.own import Apgd, FocusedMargin
from fgmf.attacks.own.losses import breaking_margin
from fgmf.errors import BudgetSpent, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from fgmf.attacks.own.task import AttackTask
    from fgmf.datasets import Samples

SMALL = FocusedMargin(targets=1, steps=2, far=0.6, long_targets=3, long_steps=4)


def rows_of(attack: FocusedMargin, *rests: float) -> dict[tuple[int, int], list[int]]:
    """Rows of each long look, by its classes and steps."""
    looks = attack.long_looks(torch.tensor(rests, dtype=torch.float64))
    return {(look.targets, look.steps): rows.tolist() for rows, look in looks}


def test_the_near_the_nearest_and_the_stuck_are_looked_at_again() -> None:
    found = rows_of(SMALL, 0.0, 0.19, 0.21, 0.6, 0.61, 0.89, 0.9, 1.0, 1.2, float("nan"))
    assert found == {(3, 12): [0, 1], (3, 4): [2, 3], (2, 12): [6, 7, 8]}


def test_the_classes_of_a_long_look_run_side_by_side() -> None:
    looks = SMALL.long_looks(torch.tensor([0.1, 0.5, 0.95]))
    assert [look.width for _, look in looks] == [3, 3, 2]
    assert SMALL.short_look().width == 1


def test_nobody_is_far_if_asked() -> None:
    assert rows_of(FocusedMargin(far=1.0, long_steps=5), 0.34, 0.7, 0.95) == {(5, 5): [0, 1, 2]}


@pytest.mark.parametrize(
    "changes",
    [
        {"far": 0.0},
        {"far": 1.1},
        {"targets": 0},
        {"long_targets": 0},
        {"steps": 0},
        {"long_steps": 0},
        {"restarts": 0},
    ],
)
def test_numbers_are_checked(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        FocusedMargin(**changes)


@pytest.fixture
def images(digits_test: Samples) -> torch.Tensor:
    return digits_test.images[:60]


@pytest.fixture
def labels(digits_test: Samples) -> torch.Tensor:
    return digits_test.labels[:60]


def test_a_far_image_costs_the_short_look_and_a_near_one_more(
    standard_digits_model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    make_task: Callable[..., AttackTask],
) -> None:
    task = make_task(images, labels, epsilon=0.08)
    short = SMALL.short_look().run(standard_digits_model, task)
    whole = -breaking_margin(standard_digits_model(images), task.criterion)
    rest = -short.margins / whole
    outcome = SMALL.run(standard_digits_model, task)
    more = outcome.forward_passes - short.forward_passes
    far = ~short.broken & (rest > 0.6) & (rest < 0.9)
    near = ~short.broken & (rest <= 0.6)
    assert int(far.sum()) > 3
    assert int(near.sum()) > 3
    assert not more[far].any()
    assert bool((more[near] > 0).all())
    # One pass to rank, and each class its start and its steps.
    assert int(more.max()) <= 1 + 3 * 13
    unbroken = near & ~outcome.broken
    assert set(more[unbroken].tolist()) <= {1 + 3 * 5, 1 + 3 * 13}


def test_the_long_look_breaks_what_the_short_one_left_and_loses_nothing(
    standard_digits_model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    make_task: Callable[..., AttackTask],
) -> None:
    task = make_task(images, labels, epsilon=0.08)
    short = SMALL.short_look().run(standard_digits_model, task)
    outcome = SMALL.run(standard_digits_model, task)
    assert int((outcome.broken & ~short.broken).sum()) >= 2
    assert not bool((short.broken & ~outcome.broken).any())
    assert bool((outcome.margins >= short.margins).all())
    seen = breaking_margin(standard_digits_model(outcome.adversarial), task.criterion)
    # The images are the points of these margins; float32 logits in another batch differ a little.
    assert torch.allclose(seen, outcome.margins, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_scale_of_the_logits_changes_nothing(
    scale: float,
    linear: Any,
    box_images: torch.Tensor,
    make_task: Callable[..., AttackTask],
) -> None:
    images = box_images.double()
    task = make_task(images, linear(images).argmax(dim=1), epsilon=0.06)
    usual = SMALL.run(linear, task)
    scaled = SMALL.run(lambda points: scale * linear(points), task)
    assert torch.equal(usual.broken, scaled.broken)
    assert torch.equal(usual.forward_passes, scaled.forward_passes)


def test_an_image_whose_margin_does_not_move_is_not_called_far(
    box_images: torch.Tensor, make_task: Callable[..., AttackTask]
) -> None:
    def constant(points: torch.Tensor) -> torch.Tensor:
        level = 0.0 * points.flatten(1).sum(dim=1)
        return torch.stack([level + 3.0, level + 2.0, level + 1.0, level], dim=1)

    task = make_task(box_images, torch.zeros(len(box_images), dtype=torch.int64))
    attack = FocusedMargin(targets=1, steps=2, far=0.3, long_targets=3, long_steps=2)
    outcome = attack.run(constant, task)
    # Clean, one class of a start and 2 steps, one to rank, two classes of a start and 3 * 2 steps.
    assert set(outcome.forward_passes.tolist()) == {1 + 3 + 1 + 2 * 7}
    assert bool(outcome.vanished.all())


def test_without_clean_logits_they_are_asked_for_and_counted(
    linear: Any, box_images: torch.Tensor, make_task: Callable[..., AttackTask]
) -> None:
    labels = linear(box_images).argmax(dim=1)
    asked = SMALL.run(linear, make_task(box_images, labels))
    known = SMALL.run(linear, make_task(box_images, labels, clean_logits=linear(box_images)))
    assert torch.equal(asked.adversarial, known.adversarial)
    assert torch.equal(asked.forward_passes, known.forward_passes + 1)


def test_time_that_runs_out_in_the_long_look_keeps_what_was_found(
    standard_digits_model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    make_task: Callable[..., AttackTask],
) -> None:
    task = make_task(images, labels, epsilon=0.08)
    short = SMALL.short_look().run(standard_digits_model, task)
    whole = SMALL.run(standard_digits_model, task)
    calls: list[int] = []

    def counted(points: torch.Tensor) -> torch.Tensor:
        calls.append(len(points))
        return standard_digits_model(points)

    SMALL.run(counted, task)
    last = len(calls)
    for limit in (last - 2, last - 8):
        left = iter(range(limit))

        def hurried(points: torch.Tensor, left: Any = left) -> torch.Tensor:
            if next(left, None) is None:
                raise BudgetSpent("expected more time")
            return standard_digits_model(points)

        outcome = SMALL.run(hurried, task)
        assert not outcome.complete
        assert bool((outcome.broken >= short.broken).all())
        assert bool((outcome.broken <= whole.broken).all())


def test_an_image_that_makes_the_model_raise_fails_alone(
    linear: Any, box_images: torch.Tensor, make_task: Callable[..., AttackTask]
) -> None:
    labels = linear(box_images).argmax(dim=1)
    usual = SMALL.run(linear, make_task(box_images, labels))
    bad = int((~usual.broken).nonzero()[0])
    marked = box_images.clone()
    asked: list[int] = []

    def fussy(points: torch.Tensor) -> torch.Tensor:
        asked.append(len(points))
        near = (points - marked[bad]).abs().flatten(1).amax(dim=1) <= 0.1 + 1e-6
        if len(asked) > 5 and bool(near.any()):
            raise ValueError("not this one")
        return linear(points)

    outcome = SMALL.run(fussy, make_task(marked, labels))
    assert set(outcome.failures) == {bad}
    others = torch.arange(len(labels)) != bad
    assert torch.equal(outcome.broken[others], usual.broken[others])


def test_the_ranking_decides_which_classes_are_aimed_at(
    linear: Any, box_images: torch.Tensor, make_task: Callable[..., AttackTask]
) -> None:
    """A lane that aims at a class raises that class."""
    labels = linear(box_images).argmax(dim=1)
    clean = linear(box_images)
    last = clean.scatter(1, clean.argsort(dim=1)[:, :1], 100.0)
    attack = Apgd(loss="margin", steps=4, targets=1, random_start=False)
    usual = attack.run(linear, make_task(box_images, labels, clean_logits=clean))
    turned = attack.run(
        linear, make_task(box_images, labels, clean_logits=clean, ranking_logits=last)
    )
    aim = clean.argmin(dim=1, keepdim=True)
    raised = (linear(turned.adversarial) - linear(usual.adversarial)).gather(1, aim)
    both = ~usual.broken & ~turned.broken
    assert int(both.sum()) > 3
    assert float(raised[both].double().mean()) > 0
    with pytest.raises(InvalidInput, match="ranking_logits"):
        make_task(box_images, labels, ranking_logits=clean[:3])
