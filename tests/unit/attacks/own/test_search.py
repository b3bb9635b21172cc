"""Square, random search, and the draws they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from fgmf.attacks.own import RandomSearch, Square
from fgmf.attacks.own.draws import normal, uniform
from fgmf.attacks.own.square_windows import (
    Windows,
    bump_table,
    place_bumps,
    tiled_bumps,
    window_flags,
)
from fgmf.attacks.projection import distances, inside
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from fgmf.attacks.own.task import AttackTask
    from fgmf.datasets import Samples
    from fgmf.types import Norm


SEEDS = torch.tensor([1, 2, 2**61 + 5])
STEPS = torch.tensor([0, 7, 3])


def test_draws_are_of_the_row_alone() -> None:
    together = uniform(SEEDS, STEPS, 50)
    assert torch.equal(together[1:2], uniform(SEEDS[1:2], STEPS[1:2], 50))
    assert torch.equal(together[:, :9], uniform(SEEDS, STEPS, 9))
    assert not torch.equal(together[0], uniform(SEEDS[:1], STEPS[:1] + 1, 50)[0])


def test_uniform_draws_are_uniform_and_independent() -> None:
    seeds = torch.arange(200)
    values = uniform(seeds, torch.zeros(200, dtype=torch.long), 500)
    assert 0 <= float(values.min()) < 1e-4
    assert 1 - 1e-4 < float(values.max()) < 1
    counts = torch.histc(values, bins=20, min=0, max=1)
    assert float(((counts - 5000) ** 2 / 5000).sum()) < 43.8  # chi2 19, p = .001
    for other in (uniform(seeds, torch.ones(200, dtype=torch.long), 500), values.roll(1, 0)):
        pairs = torch.stack([values.flatten(), other.flatten()])
        assert abs(float(torch.corrcoef(pairs)[0, 1])) < 0.0125  # 4 sigma


def test_normal_draws_are_normal() -> None:
    values = normal(torch.arange(100), torch.zeros(100, dtype=torch.long), 1000).flatten()
    assert bool(values.isfinite().all())
    assert float(values.mean()) == pytest.approx(0, abs=0.015)
    assert float(values.std()) == pytest.approx(1, abs=0.01)
    assert float((values.abs() > 1.959964).double().mean()) == pytest.approx(0.05, abs=0.003)


def test_windows_lie_in_the_image_and_reach_every_corner() -> None:
    draws = torch.tensor([[0.0, 0.0], [0.999, 0.999], [0.5, 0.2]])
    windows = Windows.drawn(draws, torch.tensor([2, 3, 1]), 5, 6)
    flags = window_flags(windows, 5, 6)
    assert flags.sum(dim=(1, 2)).tolist() == [4, 9, 1]
    assert bool(flags[0, 0, 0])
    assert bool(flags[1, 4, 5])


def test_bumps_have_norm_one_and_two_signs() -> None:
    table = bump_table(7, torch.device("cpu"))
    for side in range(2, 8):
        assert float(table[side].norm()) == pytest.approx(1)
        assert float(table[side].min()) < 0 < float(table[side].max())
        assert not bool(table[side, side:].any())
    windows = Windows.drawn(torch.tensor([[0.4, 0.9], [0.4, 0.9]]), torch.tensor([3, 3]), 8, 8)
    straight, turned = place_bumps(table, windows, torch.tensor([False, True]), 8, 8)
    inside_straight = straight[window_flags(windows, 8, 8)[0]].reshape(3, 3)
    inside_turned = turned[window_flags(windows, 8, 8)[1]].reshape(3, 3)
    assert torch.equal(inside_straight, inside_turned.T)
    assert torch.equal(inside_straight, table[3, :3, :3])


def test_tiles_carry_one_sign_each() -> None:
    tiles = tiled_bumps(torch.rand(1, 1, 11, 11, generator=torch.Generator().manual_seed(0)))
    assert float(tiles[0, 0, 0:2, 0:2].abs().sum()) > 0
    blocks = tiles[0, 0, :10, :10].reshape(5, 2, 5, 2).transpose(1, 2)
    assert len({tuple(block.abs().flatten().tolist()) for block in blocks.flatten(0, 1)}) == 1


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.15), ("l2", 0.8)])
def test_square_stays_inside_and_improves_on_random_search(
    norm: Norm,
    epsilon: float,
    standard_digits_model: nn.Module,
    digits_test: Samples,
    make_task: Callable[..., AttackTask],
) -> None:
    images, labels = digits_test.images[:60], digits_test.labels[:60]
    task = make_task(images, labels, norm, epsilon)
    square = Square(queries=200).run(standard_digits_model, task)
    search = RandomSearch(queries=200).run(standard_digits_model, task)
    assert bool(inside(images, square.adversarial, task.threat).all())
    assert bool(inside(images, search.adversarial, task.threat).all())
    assert int(square.broken.sum()) > int(search.broken.sum()) > 2
    assert int(square.backward_passes.sum()) == 0
    assert int(square.forward_passes.max()) == 201
    assert bool((square.forward_passes[square.broken] < 201).any())


def test_square_uses_the_whole_budget(
    linear: Any, box_images: torch.Tensor, make_task: Callable[..., AttackTask]
) -> None:
    labels = linear(box_images).argmax(dim=1)
    for norm, epsilon in (("linf", 1e-3), ("l2", 1e-2)):
        outcome = Square(queries=30).run(linear, make_task(box_images, labels, norm, epsilon))
        used = distances(box_images, outcome.adversarial, norm)
        assert float(used.median()) > 0.5 * epsilon


def test_random_search_reaches_inner_points_and_corners(
    box_images: torch.Tensor, make_task: Callable[..., AttackTask]
) -> None:
    seen = []

    def recording(images: torch.Tensor) -> torch.Tensor:
        seen.append(images.clone())
        return torch.tensor([[1.0, 0.0]]).repeat(len(images), 1)

    gray = torch.full((4, 1, 3, 4), 0.5)
    task = make_task(gray, torch.zeros(4, dtype=torch.long), "linf", 0.25)
    RandomSearch(queries=4).run(recording, task)
    moves = [(points - gray).abs() for points in seen[1:]]
    assert bool((moves[1] == 0.25).all() & (moves[3] == 0.25).all())
    assert float(moves[0].mean()) == pytest.approx(0.125, abs=0.05)
    assert len(moves) == 4


def test_square_refuses_what_it_was_not_made_for(
    box_images: torch.Tensor, linear: Any, make_task: Callable[..., AttackTask]
) -> None:
    labels = torch.zeros(40, dtype=torch.long)
    with pytest.raises(InvalidInput, match="l1"):
        Square().run(linear, make_task(box_images, labels, "l1"))
    with pytest.raises(InvalidInput, match=r"\(n, c, h, w\)"):
        Square().run(linear, make_task(box_images.flatten(1), labels))
    for bad in ({"queries": 0}, {"p_init": 0.0}):
        with pytest.raises(InvalidInput):
            Square(**bad)
    with pytest.raises(InvalidInput):
        RandomSearch(queries=0)


def test_rectangular_colour_images(make_linear: Any, make_task: Callable[..., AttackTask]) -> None:
    model = make_linear(1, values=3 * 6 * 10)
    images = torch.rand(10, 3, 6, 10, generator=torch.Generator().manual_seed(8))
    labels = model(images).argmax(dim=1)
    for norm, epsilon in (("linf", 0.1), ("l2", 0.6)):
        task = make_task(images, labels, norm, epsilon)
        outcome = Square(queries=60).run(model, task)
        assert bool(inside(images, outcome.adversarial, task.threat).all())
        assert bool(outcome.broken.any())
