from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from fgmf.attacks.criteria import Criterion
from fgmf.attacks.own import Apgd, FocusedMargin, MinimumMargin, RandomSearch, Square
from fgmf.attacks.own.lanes import Schedule, rank_wrong_classes
from fgmf.attacks.own.task import image_keys
from fgmf.attacks.projection import inside
from fgmf.errors import InvalidInput
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from fgmf.attacks.own.task import AttackOutcome, AttackTask
    from fgmf.datasets import Samples
    from fgmf.types import Norm


ATTACKS = [
    Apgd(steps=12, restarts=2),
    Apgd(loss="dlr", steps=10, targets=3, width=2),
    MinimumMargin(targets=3, steps=8),
    FocusedMargin(targets=2, steps=2, far=0.8, long_targets=3, long_steps=4),
    Square(queries=40),
    RandomSearch(queries=30),
]


class Counting:
    """A model that counts the rows that go through it, forward and backward."""

    def __init__(self, model: Any) -> None:
        self.model, self.forward, self.backward = model, 0, 0

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.forward += images.shape[0]
        logits = self.model(images)
        if logits.requires_grad:
            logits.register_hook(lambda _: self._seen(images.shape[0]))
        return logits

    def _seen(self, rows: Any) -> None:
        self.backward += rows


@pytest.fixture
def labels(linear: Any, box_images: torch.Tensor) -> torch.Tensor:
    return linear(box_images).argmax(dim=1)


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_passes_are_counted_exactly(
    attack: Any,
    batch_size: int,
    linear: Any,
    labels: torch.Tensor,
    box_images: torch.Tensor,
    make_task: Callable[..., AttackTask],
) -> None:
    model = Counting(linear)
    outcome = attack.run(model, make_task(box_images, labels), batch_size=batch_size)
    assert int(outcome.forward_passes.sum()) == model.forward
    assert int(outcome.backward_passes.sum()) == model.backward
    assert outcome.forward_passes.shape == (40,)
    assert int(outcome.forward_passes.min()) >= 1


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_results_do_not_depend_on_batch_size_or_order(
    attack: Any,
    norm: Norm,
    digits_test: Samples,
    trained_digits: Callable[[str], nn.Module],
    make_task: Callable[..., AttackTask],
) -> None:
    # float64, because the rounding of float32 convolutions does depend on the batch.
    model = trained_digits("standard").double()
    images, labels = digits_test.images[:60].double(), digits_test.labels[:60]
    keys = image_keys(images)
    epsilon = {"linf": 0.12, "l2": 0.5}[norm]

    def run(rows: Any, batch_size: int) -> AttackOutcome:
        task = make_task(
            images[rows],
            labels[rows],
            norm,
            epsilon,
            keys=tuple(keys[int(row)] for row in rows),
            seed=5,
        )
        return attack.run(model, task, batch_size=batch_size)

    straight = run(torch.arange(60), 64)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    for outcome, rows in ((run(torch.arange(60), 7), torch.arange(60)), (run(order, 7), order)):
        assert torch.equal(outcome.broken, straight.broken[rows])
        assert torch.allclose(outcome.adversarial, straight.adversarial[rows], atol=1e-9)
    assert 0 < int(straight.broken.sum()) < 60


def test_another_seed_draws_other_points(
    linear: Any,
    labels: torch.Tensor,
    box_images: torch.Tensor,
    make_task: Callable[..., AttackTask],
) -> None:
    attack = Apgd(steps=1, leave_when_broken=False)
    first = attack.run(linear, make_task(box_images, labels, epsilon=0.01, seed=1))
    second = attack.run(linear, make_task(box_images, labels, epsilon=0.01, seed=2))
    again = attack.run(linear, make_task(box_images, labels, epsilon=0.01, seed=1))
    assert torch.equal(first.adversarial, again.adversarial)
    assert not torch.equal(first.adversarial, second.adversarial)


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_what_comes_back_lies_inside_and_is_judged_right(
    attack: Any,
    linear: Any,
    labels: torch.Tensor,
    box_images: torch.Tensor,
    make_task: Callable[..., AttackTask],
) -> None:
    task = make_task(box_images, labels, epsilon=0.08)
    outcome = attack.run(linear, task)
    assert bool(inside(box_images, outcome.adversarial, task.threat).all())
    again = linear(outcome.adversarial)
    assert torch.equal(again.argmax(dim=1) != labels, outcome.broken)
    assert torch.equal(outcome.margins > 0, outcome.broken)


def test_images_wrong_from_the_start_cost_one_pass(
    linear: Any,
    labels: torch.Tensor,
    box_images: torch.Tensor,
    make_task: Callable[..., AttackTask],
) -> None:
    wrong = (labels + 1) % 4
    outcome = Apgd(steps=20).run(linear, make_task(box_images, wrong))
    assert bool(outcome.broken.all())
    assert outcome.forward_passes.tolist() == [1] * 40
    assert outcome.backward_passes.tolist() == [0] * 40
    assert torch.equal(outcome.adversarial, box_images)


def test_known_clean_logits_save_their_pass(
    linear: Any,
    labels: torch.Tensor,
    box_images: torch.Tensor,
    make_task: Callable[..., AttackTask],
) -> None:
    clean = linear(box_images)
    attack = Apgd(steps=5)
    given = attack.run(linear, make_task(box_images, labels, clean_logits=clean))
    asked = attack.run(linear, make_task(box_images, labels))
    assert torch.equal(given.forward_passes + 1, asked.forward_passes)
    assert torch.equal(given.adversarial, asked.adversarial)


def test_an_image_that_stays_costs_its_whole_schedule(
    linear: Any,
    labels: torch.Tensor,
    box_images: torch.Tensor,
    make_task: Callable[..., AttackTask],
) -> None:
    attack = Apgd(steps=6, restarts=2, targets=3)
    outcome = attack.run(linear, make_task(box_images, labels, epsilon=1e-6))
    assert not bool(outcome.broken.any())
    assert outcome.forward_passes.tolist() == [1 + 6 * 7] * 40
    assert outcome.backward_passes.tolist() == [6 * 6] * 40


def test_broken_images_leave_at_once(
    linear: Any,
    labels: torch.Tensor,
    box_images: torch.Tensor,
    make_task: Callable[..., AttackTask],
) -> None:
    leaving = Apgd(steps=30).run(linear, make_task(box_images, labels, epsilon=0.5))
    staying = Apgd(steps=30, leave_when_broken=False).run(
        linear, make_task(box_images, labels, epsilon=0.5)
    )
    assert torch.equal(leaving.broken, staying.broken)
    assert bool(leaving.broken.any())
    assert int(leaving.forward_passes[leaving.broken].max()) < 32
    assert staying.forward_passes.tolist() == [32] * 40
    assert bool((staying.margins >= leaving.margins).all())


def test_a_wave_wider_than_the_batch_goes_through(
    linear: Any,
    labels: torch.Tensor,
    box_images: torch.Tensor,
    make_task: Callable[..., AttackTask],
) -> None:
    wide = Apgd(steps=4, restarts=6, width=6)
    small = wide.run(linear, make_task(box_images, labels, epsilon=0.02), batch_size=2)
    large = wide.run(linear, make_task(box_images, labels, epsilon=0.02), batch_size=512)
    assert torch.equal(small.adversarial, large.adversarial)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_fall_back_of_dlr_shows(
    classes: int, make_linear: Any, box_images: torch.Tensor, make_task: Callable[..., AttackTask]
) -> None:
    model = make_linear(1, classes=classes)
    labels = model(box_images).argmax(dim=1)
    task = make_task(box_images, labels)
    assert Apgd(loss="dlr", steps=2).run(model, task).loss == ("margin" if classes == 2 else "dlr")
    assert Apgd(loss="dlr", steps=2, targets=9).run(model, task).loss == "margin"


def test_a_targeted_criterion_is_the_only_aim(
    linear: Any,
    labels: torch.Tensor,
    box_images: torch.Tensor,
    make_task: Callable[..., AttackTask],
) -> None:
    targets = (labels + 1) % 4
    criterion = Criterion(kind="targeted", labels=labels, targets=targets)
    task = make_task(box_images, labels, epsilon=0.3, criterion=criterion)
    outcome = Apgd(loss="dlr", steps=20, targets=3).run(linear, task)
    hit = linear(outcome.adversarial).argmax(dim=1) == targets
    assert torch.equal(hit, outcome.broken)
    assert 0 < int(hit.sum()) < 40
    assert int(outcome.forward_passes.max()) <= 1 + 21


def test_top_k_images_leave_the_top(
    linear: Any,
    labels: torch.Tensor,
    box_images: torch.Tensor,
    make_task: Callable[..., AttackTask],
) -> None:
    criterion = Criterion(kind="top-k", labels=labels, top_k=2)
    outcome = Apgd(steps=20).run(
        linear, make_task(box_images, labels, epsilon=0.3, criterion=criterion)
    )
    assert torch.equal(criterion.broken(linear(outcome.adversarial)), outcome.broken)
    assert bool(outcome.broken.any())


def test_dead_and_broken_models_are_told(
    box_images: torch.Tensor, make_task: Callable[..., AttackTask]
) -> None:
    labels = torch.zeros(40, dtype=torch.long)

    def dead(images: torch.Tensor) -> torch.Tensor:
        return torch.tensor([1.0, 0.0, 0.0]) + 0 * images.flatten(1)[:, :3]

    def undefined(images: torch.Tensor) -> torch.Tensor:
        return torch.full((len(images), 3), torch.nan) * images.flatten(1)[:, :3]

    flat = Apgd(steps=3).run(dead, make_task(box_images, labels))
    assert bool(flat.vanished.all())
    assert not bool(flat.not_finite.any() | flat.broken.any())
    nothing = Apgd(steps=3).run(undefined, make_task(box_images, labels))
    assert bool(nothing.not_finite.all())
    assert not bool(nothing.broken.any())
    assert bool(nothing.adversarial.isfinite().all())


def test_detached_logits_are_an_error(
    linear: Any,
    labels: torch.Tensor,
    box_images: torch.Tensor,
    make_task: Callable[..., AttackTask],
) -> None:
    with pytest.raises(InvalidInput, match="cut from the graph"):
        Apgd(steps=2).run(lambda images: linear(images).detach(), make_task(box_images, labels))


def test_logits_of_another_shape_are_an_error(
    labels: torch.Tensor, box_images: torch.Tensor, make_task: Callable[..., AttackTask]
) -> None:
    with pytest.raises(InvalidInput, match=r"expected logits \(40, classes\)"):
        Apgd(steps=2).run(lambda images: images.sum(), make_task(box_images, labels))


def test_tasks_that_do_not_fit_are_refused(
    box_images: torch.Tensor, labels: torch.Tensor, make_task: Callable[..., AttackTask]
) -> None:
    with pytest.raises(InvalidInput, match="one label and one key"):
        make_task(box_images, labels[:3])
    with pytest.raises(InvalidInput, match="floating-point"):
        make_task(box_images.long(), labels)
    with pytest.raises(InvalidInput, match=r"within bounds \[0, 1\], got range"):
        make_task(box_images * 2, labels)


def test_schedules_cut_lanes_into_waves() -> None:
    schedule = Schedule(restarts=2, targets=3, width=4)
    assert schedule.waves([7, 5, 4, 1]) == [[(0, 7), (0, 5), (0, 4), (1, 7)], [(1, 5), (1, 4)]]
    assert Schedule().waves([7, 5]) == [[(0, -1)]]
    with pytest.raises(InvalidInput):
        Schedule(width=0)
    with pytest.raises(InvalidInput):
        Apgd(steps=0)


def test_wrong_classes_are_ranked_by_logit() -> None:
    logits = torch.tensor([[0.0, 3.0, 2.0, 1.0], [5.0, 1.0, 1.0, 2.0]])
    assert rank_wrong_classes(logits, torch.tensor([2, 0])).tolist() == [[1, 3, 0], [3, 1, 2]]


def test_bounds_other_than_the_unit_box(
    make_linear: Any, make_task: Callable[..., AttackTask]
) -> None:
    model = make_linear(2)
    images = torch.rand(20, 1, 3, 4, generator=torch.Generator().manual_seed(3)) * 4 - 3
    labels = model(images).argmax(dim=1)
    threat = ThreatModel(norm="l2", epsilon=0.7, bounds=(-3.0, 1.0))
    outcome = Apgd(steps=20).run(model, make_task(images, labels, threat=threat))
    assert bool(inside(images, outcome.adversarial, threat).all())
    assert bool(outcome.broken.any())


def test_no_images_are_no_error(linear: Any, make_task: Callable[..., AttackTask]) -> None:
    outcome = Apgd(steps=2).run(
        linear,
        make_task(torch.zeros(0, 1, 3, 4), torch.zeros(0).long(), clean_logits=torch.zeros(0, 4)),
    )
    assert outcome.broken.shape == (0,)
