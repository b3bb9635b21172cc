"""Random points: inside the ball and the box, half of them as far out as asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from tiny_models import make_images

from fgmf.attacks.projection import distances, inside
from fgmf.selftest.points import ball_points
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from fgmf.types import Norm

RADII: dict[str, float] = {"linf": 0.2, "l2": 1.5, "l1": 5.0}


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("norm", RADII)
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 3.0)])
def test_points_lie_inside_and_corners_far_out(
    norm: Norm, bounds: tuple[float, float], share: float
) -> None:
    threat = ThreatModel(norm=norm, epsilon=RADII[norm], bounds=bounds)
    image = make_images(1, bounds=bounds)[0]
    image[0, :4] = bounds[0]  # black, as backgrounds are
    generator = np.random.default_rng(0)
    points = ball_points(image, threat, count=200, generator=generator, share=share)
    clean = image.expand_as(points)
    assert points.shape == (200, *image.shape)
    assert points.dtype is torch.float32
    assert bool(inside(clean, points, threat).all())
    size = distances(clean, points, norm) / (threat.epsilon * share)
    assert float(size.max()) <= 1 + 1e-5  # rounding to float32
    # In L2 half of a direction is cut off where the image is black.
    assert float(size[::2].min()) > (0.5 if norm == "l2" else 0.95)


def test_linf_corners_turn_to_where_there_is_room() -> None:
    threat = ThreatModel(norm="linf", epsilon=0.3)
    black = torch.zeros(1, 8, 8)
    corners = ball_points(black, threat, count=20, generator=np.random.default_rng(0))[::2]
    assert bool((corners > 0.29).all())


def test_points_follow_the_generator() -> None:
    threat = ThreatModel(norm="l1", epsilon=3.0)
    image = make_images(1)[0]
    drawn = [
        ball_points(image, threat, count=9, generator=np.random.default_rng(seed))
        for seed in (1, 1, 2)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
