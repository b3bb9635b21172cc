"""Curvature of the answers along the path of integrated gradients."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from fgmf.backbones import ConvNet, ConvNetConfig
from fgmf.errors import InvalidInput
from fgmf.scorpio import PathCurvature, path_curvature

if TYPE_CHECKING:
    from collections.abc import Callable

CHOSEN = PathCurvature()
EPSILON = 0.1


def pictures(count: int = 5) -> torch.Tensor:
    drawn = torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(3))
    return drawn.double()


def measured(
    logits_of: Callable[[torch.Tensor], torch.Tensor],
    chosen: PathCurvature = CHOSEN,
    images: torch.Tensor | None = None,
) -> torch.Tensor:
    return path_curvature(
        logits_of,
        pictures() if images is None else images,
        chosen,
        epsilon=EPSILON,
        bounds=(0.0, 1.0),
        draws=torch.Generator().manual_seed(7),
    )


def test_straight_answers_do_not_bend() -> None:
    weights = torch.randn(36, 4, generator=torch.Generator().manual_seed(1)).double()
    # Differences of logits of size 1 over steps of .05 round at 1e-16 / .05, squared.
    assert bool((measured(lambda x: x.flatten(1) @ weights + 2.0) < 1e-20).all())


@pytest.mark.parametrize("baseline", ["zero", "noise"])
def test_squares_in_closed_form(baseline: Any) -> None:
    """f = (w'x)^2: the second difference is 2 (w'd)^2, the first 4 (w'p)(w'd)."""
    images = pictures()
    w = torch.randn(36, generator=torch.Generator().manual_seed(1)).double()
    chosen = PathCurvature(noise=0.7, baseline=baseline)
    found = measured(lambda x: (x.flatten(1) @ w).square()[:, None], chosen)
    draws = torch.Generator().manual_seed(7)
    start = torch.zeros_like(images)
    if baseline == "noise":
        start = torch.rand(images.shape, generator=draws, dtype=torch.float64)
    unit = 2 * torch.rand(images.shape, generator=draws).double() - 1
    along = torch.rand(5, 1, 1, 1, generator=draws).double()
    at = (start + along * (images - start)).flatten(1) @ w
    by = (along * 0.7 * EPSILON * unit).flatten(1) @ w
    bend, slope = (2 * by**2) ** 2, (4 * at * by) ** 2
    # 1e-12 beside slopes of 1e-3: eight digits are left.
    torch.testing.assert_close(found, bend / (slope + 1e-3 * slope.mean()), rtol=1e-8, atol=0)


def test_it_has_no_unit() -> None:
    net = ConvNet(ConvNetConfig(image_side=8, activation="gelu"), seed=2).double()
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    one = measured(net, images=images)
    scaled = measured(lambda x: 1000.0 * net(x), images=images)
    # 1e-12 in the denominator is left behind by the scale.
    torch.testing.assert_close(one, scaled, rtol=1e-4, atol=0)
    assert bool((one > 0).all())


def test_the_floor_is_a_number_that_is_not_trained() -> None:
    """Of logits times t, K = t^2 b / (t^2 s + f): its slope at t = 1 is 2 b f / (s + f)^2."""
    w = torch.randn(36, generator=torch.Generator().manual_seed(1)).double()
    t = torch.ones((), dtype=torch.float64, requires_grad=True)
    steps: list[torch.Tensor] = []

    def logits_of(x: torch.Tensor) -> torch.Tensor:
        steps.append((x.flatten(1) @ w).square())
        return t * steps[-1][:, None]

    (slope,) = torch.autograd.grad(measured(logits_of).mean(), t)
    up, down, middle = steps
    b, s = (up + down - 2 * middle).square(), (up - down).square()
    f = 1e-3 * s.mean()
    torch.testing.assert_close(slope, (2 * b * f / (s + f).square()).mean(), rtol=1e-8, atol=0)


def test_places_and_noise_are_drawn_for_each_image() -> None:
    same = pictures(1).expand(6, -1, -1, -1)
    w = torch.randn(36, generator=torch.Generator().manual_seed(1)).double()
    found = measured(lambda x: (x.flatten(1) @ w).square()[:, None], images=same)
    assert len(found.unique()) == 6


def test_training_by_it_straightens() -> None:
    net = ConvNet(ConvNetConfig(image_side=8), seed=2)
    images = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    before = float(measured(net, images=images).mean().detach())
    steps = torch.optim.SGD(net.parameters(), lr=0.02)
    for _ in range(40):
        steps.zero_grad()
        measured(net, images=images).mean().backward()
        steps.step()
    assert float(measured(net, images=images).mean().detach()) < 0.7 * before


def test_three_passes() -> None:
    seen: list[int] = []

    class Counting(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(len(images))
            return images.flatten(1)

    measured(Counting())
    assert seen == [5, 5, 5]
    assert (CHOSEN.cost.forward, CHOSEN.cost.backward) == (3, 3)


@pytest.mark.parametrize(
    "changes",
    [{"weight": -0.1}, {"weight": float("nan")}, {"noise": 0.0}, {"baseline": "white"}],
    ids=str,
)
def test_mistakes(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(changes))):
        replace(CHOSEN, **changes)
