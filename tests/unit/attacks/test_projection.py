"""What leaves the projection is inside when it is measured by somebody else, in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fgmf.attacks.projection import distances, inside, project
from fgmf.errors import InvalidInput
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from fgmf.types import Norm

BOUNDS = [(0.0, 1.0), (-1.0, 1.0), (-2.1179, 2.64), (0.0, 255.0), (0.1, 0.3), (-1e-3, 1e4)]
NORMS = ["linf", "l2", "l1"]


@dataclass(frozen=True)
class Case:
    clean: torch.Tensor
    moved: torch.Tensor
    threat: ThreatModel


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Images with pixels on and off the bounds, moved by little or by far too much."""
    bounds = draw(st.sampled_from(BOUNDS))
    width = bounds[1] - bounds[0]
    norm: Norm = draw(st.sampled_from(NORMS))
    share = draw(st.sampled_from([0.0, 1e-6, 1e-3, 1 / 255, 8 / 255, 0.1, 0.3, 1.0, 3.0]))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    shape = (5, draw(st.sampled_from([1, 3])), 6, 6)
    unit = torch.rand(shape, generator=generator, dtype=torch.float64)
    if draw(st.booleans()):
        unit = (unit * 1.5 - 0.25).clamp(0, 1)
    clean = (unit * width + bounds[0]).to(dtype).clamp(*bounds)
    step = torch.randn(shape, generator=generator, dtype=torch.float64)
    far = draw(st.sampled_from([1e-7, 0.5, 1.0, 1.000001, 2.0, 1e3]))
    size = max(share, 1e-9) * width / (1 if norm == "linf" else unit[0].numel() ** 0.5)
    moved = (clean.double() + step * size * far).to(dtype)
    return Case(clean, moved, ThreatModel(norm=norm, epsilon=share * width, bounds=bounds))


def measured(clean: torch.Tensor, moved: torch.Tensor, norm: Norm) -> float:
    """The distance of two images in double precision, summed exactly."""
    gaps = np.abs(moved.numpy().astype(np.float64) - clean.numpy().astype(np.float64)).ravel()
    if norm == "linf":
        return float(gaps.max())
    if norm == "l1":
        return math.fsum(gaps)
    return math.sqrt(math.fsum(gap * gap for gap in gaps))


@given(case=cases())
def test_projected_images_are_inside_ball_and_box(case: Case) -> None:
    threat = case.threat
    result = project(case.clean, case.moved, threat)
    assert result.dtype is case.clean.dtype
    assert bool(inside(case.clean, result, threat).all())
    # One part in a thousand millions: the rounding of the sum of squares itself.
    limit = threat.epsilon * (1 if threat.norm == "linf" else 1 + 1e-9)
    lower, upper = (torch.tensor(bound, dtype=result.dtype) for bound in threat.bounds)
    for clean, image in zip(case.clean, result, strict=True):
        assert measured(clean, image, threat.norm) <= limit
        assert bool((image >= lower).all())
        assert bool((image <= upper).all())


@given(case=cases())
def test_what_is_inside_already_is_not_moved(case: Case) -> None:
    result = project(case.clean, case.moved, case.threat)
    allowed = inside(case.clean, case.moved, case.threat)
    assert torch.equal(result[allowed], case.moved[allowed])
    assert torch.equal(project(case.clean, result, case.threat), result)
    assert torch.equal(project(case.clean, case.clean, case.threat), case.clean)


@given(case=cases())
def test_little_is_given_away(case: Case) -> None:
    """An image pushed far out ends near the edge of the ball, unless the box is nearer."""
    threat = case.threat
    far = case.clean + (case.moved - case.clean) * 1e3
    size = torch.tensor(
        [
            measured(clean, image, threat.norm)
            for clean, image in zip(case.clean, project(case.clean, far, threat), strict=True)
        ]
    )
    unboxed = ThreatModel(norm=threat.norm, epsilon=threat.epsilon, bounds=(-1e9, 1e9))
    free = measured(case.clean[0], project(case.clean, far, unboxed)[0], threat.norm)
    corner = project(case.clean, far, threat)
    lower, upper = threat.bounds
    in_the_open = ((corner > lower) & (corner < upper)).flatten(1).all(dim=1)
    # A pixel gives away at most two rounding steps of its own size, and a square root of them.
    spare = 4 * float(torch.finfo(case.clean.dtype).eps) * max(abs(lower), abs(upper)) * 108
    pushed = distances(case.clean, far, threat.norm) > threat.epsilon
    assert bool((size[in_the_open & pushed] >= threat.epsilon - spare).all())
    assert free <= threat.epsilon * (1 + 1e-9)


@given(case=cases())
def test_the_order_of_coordinates_stays(case: Case) -> None:
    """A projection shrinks towards the clean image: no coordinate changes sides or grows."""
    before = case.moved.double() - case.clean.double()
    after = project(case.clean, case.moved, case.threat).double() - case.clean.double()
    assert bool((before * after >= 0).all())
    assert bool((after.abs() <= before.abs()).all())


@pytest.mark.parametrize("norm", NORMS)
def test_one_rounding_step_outside_is_outside(norm: Norm) -> None:
    clean = torch.zeros(1, 1, 2, 2)
    edge = torch.zeros(1, 1, 2, 2)
    edge[0, 0, 0, 0] = 0.25
    threat = ThreatModel(norm=norm, epsilon=0.25)
    assert inside(clean, edge, threat).item() is True
    edge[0, 0, 0, 0] = torch.nextafter(torch.tensor(0.25), torch.tensor(1.0))
    assert inside(clean, edge, threat).item() is False


@pytest.mark.parametrize(("value", "is_inside"), [(0.0, True), (1.0, True), (-1e-7, False)])
def test_the_box_counts_as_well(value: float, is_inside: bool) -> None:
    clean = torch.zeros(1, 1, 2, 2)
    threat = ThreatModel(norm="linf", epsilon=5.0)
    assert inside(clean, torch.full_like(clean, value), threat).item() is is_inside
    above = torch.full_like(clean, float(torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))))
    assert inside(clean, above, threat).item() is False


def test_bounds_that_float32_cannot_write_are_bounds_all_the_same() -> None:
    """2.64 in float32 lies above 2.64; an image clamped to it is not outside."""
    threat = ThreatModel(norm="linf", epsilon=9.0, bounds=(-2.1179, 2.64))
    clean = torch.zeros(1, 1, 2, 2)
    for value in threat.bounds:
        extreme = clean.fill_(0) + value
        assert inside(clean, extreme, threat).item() is True
        assert torch.equal(project(clean, extreme * 2, threat), extreme)


@pytest.mark.parametrize("norm", NORMS)
def test_nan_is_never_inside(norm: Norm) -> None:
    clean = torch.full((3, 1, 2, 2), 0.5)
    moved = clean.clone()
    moved[0, 0, 0, 0] = float("nan")
    moved[1, 0, 0, 0] = float("inf")
    threat = ThreatModel(norm=norm, epsilon=10.0)
    assert inside(clean, moved, threat).tolist() == [False, False, True]
    projected = project(clean, moved, threat)
    assert bool(projected[0].isnan().any())
    assert inside(clean, projected, threat).tolist()[::2] == [False, True]


def test_distances_are_those_of_the_textbook() -> None:
    left = torch.zeros(2, 1, 1, 3)
    right = torch.tensor([[3.0, -4.0, 0.0], [0.0, 0.0, 0.0]]).reshape(2, 1, 1, 3)
    assert distances(left, right, "linf").tolist() == [4, 0]
    assert distances(left, right, "l2").tolist() == [5, 0]
    assert distances(left, right, "l1").tolist() == [7, 0]
    assert distances(left.half(), right.half(), "l2").dtype is torch.float64


def test_images_of_other_shapes_have_no_distance() -> None:
    with pytest.raises(InvalidInput, match="one shape"):
        distances(torch.zeros(2, 3), torch.zeros(1, 3), "l2")
