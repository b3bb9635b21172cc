from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from oracles.linear_minimum import smallest_move
from scipy.optimize import minimize

from fgmf.attacks.own.balls import (
    norms,
    project,
    random_point,
    region_around,
    sparse_steepest,
    steepest,
)
from fgmf.attacks.own.hyperplane import smallest_displacement
from fgmf.attacks.projection import inside
from fgmf.seeding import image_generator
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from fgmf.types import Norm


NORMS = ["linf", "l2", "l1"]


def radii(count: int, value: float) -> torch.Tensor:
    return torch.full((count,), value, dtype=torch.float64)


@pytest.mark.parametrize("norm", NORMS)
def test_projected_points_lie_inside_when_measured_in_float64(
    norm: Norm, box_images: torch.Tensor
) -> None:
    threat = ThreatModel(norm=norm, epsilon=0.3)
    region = region_around(box_images, threat)
    wild = box_images + torch.randn(box_images.shape, generator=torch.Generator().manual_seed(1))
    points = project(region, wild, norm, radii(len(wild), 0.3))
    assert bool(inside(box_images, points, threat).all())
    assert float(norms(points - box_images, norm).max()) > 0.299


@pytest.mark.parametrize("norm", NORMS)
def test_points_inside_stay_where_they_are(norm: Norm, box_images: torch.Tensor) -> None:
    region = region_around(box_images, ThreatModel(norm=norm, epsilon=0.3))
    near = (box_images + 1e-3).clamp(0, 1)
    points = project(region, near, norm, radii(len(near), 0.3))
    assert torch.allclose(points, near, atol=1e-7)  # float32 rounding of the difference


def test_the_l1_projection_is_the_nearest_point_of_ball_and_box(box_images: torch.Tensor) -> None:
    images = box_images[:6].double()
    region = region_around(images, ThreatModel(norm="l1", epsilon=0.7))
    generator = torch.Generator().manual_seed(2)
    wild = images + 0.5 * torch.randn(images.shape, generator=generator, dtype=torch.float64)
    points = project(region, wild, "l1", radii(6, 0.7))
    for image, aim, point in zip(images, wild, points, strict=True):
        # u = up - down, both in the box: a smooth problem for a general solver.
        center, goal = image.flatten().numpy(), aim.flatten().numpy()
        size = len(center)

        def distance(parts: Any, center: Any = center, goal: Any = goal, size: int = size) -> float:
            return float(np.sum((center + parts[:size] - parts[size:] - goal) ** 2))

        answer = minimize(
            distance,
            np.zeros(2 * size),
            bounds=[(0, 1 - v) for v in center] + [(0, v) for v in center],
            constraints={"type": "ineq", "fun": lambda parts: 0.7 - parts.sum()},
            options={"maxiter": 500, "ftol": 1e-12},
        )
        ours = float(((point - aim) ** 2).sum())
        assert ours <= answer.fun + 2e-5  # the projection keeps 1e-6 of the radius free
        assert ours == pytest.approx(answer.fun, abs=1e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_the_smallest_displacement_is_that_of_a_general_solver(
    norm: Norm, box_images: torch.Tensor
) -> None:
    images = box_images.double()
    region = region_around(images, ThreatModel(norm=norm, epsilon=5.0))
    generator = torch.Generator().manual_seed(4)
    normal = torch.randn(images.shape, generator=generator, dtype=torch.float64)
    gap = torch.linspace(0.1, 6.0, len(images), dtype=torch.float64)
    moves, reachable = smallest_displacement(region, normal, gap, norm)
    found = norms(moves, norm)
    for at, image in enumerate(images):
        flat = image.flatten().numpy()
        w = normal[at].flatten().numpy()
        exact = smallest_move(w, float(gap[at]), -flat, 1 - flat, norm)
        assert bool(reachable[at]) == np.isfinite(exact)
        if np.isfinite(exact):
            assert float(found[at]) == pytest.approx(exact, rel=1e-6)
            assert float((normal[at] * moves[at]).sum()) == pytest.approx(float(gap[at]), rel=1e-9)
    assert 0 < int(reachable.sum()) < len(images)
    assert bool(((images + moves) >= -1e-12).all() & ((images + moves) <= 1 + 1e-12).all())


def test_a_hyperplane_already_reached_needs_no_move(box_images: torch.Tensor) -> None:
    region = region_around(box_images, ThreatModel(norm="l2", epsilon=1.0))
    moves, reachable = smallest_displacement(
        region, torch.ones_like(box_images), torch.full((40,), -1.0), "l2"
    )
    assert not bool(moves.any())
    assert bool(reachable.all())


def test_steepest_steps_have_norm_one_and_zero_gradients_none() -> None:
    gradient = torch.tensor([[3.0, -4.0, 0.0], [0.0, 0.0, 0.0]])
    assert steepest(gradient, "linf").tolist() == [[1, -1, 0], [0, 0, 0]]
    assert torch.allclose(steepest(gradient, "l2"), torch.tensor([[0.6, -0.8, 0], [0, 0, 0]]))
    tiny = steepest(gradient * 1e-30, "l2")
    assert torch.allclose(tiny, torch.tensor([[0.6, -0.8, 0], [0, 0, 0]]))


def test_sparse_steps_move_the_largest_entries_of_each_row() -> None:
    gradient = torch.tensor([[3.0, -4.0, 1.0, 2.0], [1.0, 1.0, 1.0, 1.0]])
    step = sparse_steepest(gradient, torch.tensor([2, 1]))
    assert step.tolist() == [[0.5, -0.5, 0, 0], [1, 0, 0, 0]]


@pytest.mark.parametrize("norm", NORMS)
def test_random_points_depend_on_their_own_generator_only(
    norm: Norm, box_images: torch.Tensor
) -> None:
    threat = ThreatModel(norm=norm, epsilon=0.4)

    def points(rows: Any) -> torch.Tensor:
        region = region_around(box_images[rows], threat)
        return random_point(region, threat, [image_generator(0, str(r)) for r in rows])

    together, alone = points(list(range(8))), points([5])
    assert torch.equal(together[5], alone[0])
    assert bool(inside(box_images[:8], together, threat).all())
    assert float(norms(together - box_images[:8], norm).min()) > 0.1
