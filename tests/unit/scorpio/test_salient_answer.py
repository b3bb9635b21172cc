"""Answers that rest on salient pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, softmax

from fgmf.backbones import ConvNet, ConvNetConfig
from fgmf.errors import InvalidInput, NonFiniteOutput
from fgmf.scorpio import SalientAnswer, salient_answer

if TYPE_CHECKING:
    from collections.abc import Callable

CHOSEN = SalientAnswer()


def drawn(*shape: int, seed: int = 3) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)).double()


def measured(
    logits_of: Callable[[torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    gradient: torch.Tensor,
    chosen: SalientAnswer = CHOSEN,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> torch.Tensor:
    return salient_answer(logits_of, images, gradient, chosen, bounds=bounds)


def test_an_answer_by_the_salient_pixels_alone_loses_nothing() -> None:
    images, gradient = drawn(5, 1, 4, 4), torch.zeros(5, 1, 4, 4)
    gradient[:, :, :2] = -1.0  # the upper half, whatever the sign
    weights = drawn(8, 3, seed=1)
    found = measured(lambda x: x[:, :, :2].flatten(1) @ weights, images, gradient)
    assert float(found.abs().max()) < 1e-12  # rounding of float64
    lost = measured(lambda x: x[:, :, 2:].flatten(1) @ weights, images, gradient)
    assert float(lost.min()) > 1e-3


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 1.0)], ids=str)
def test_the_divergence_in_closed_form(bounds: tuple[float, float]) -> None:
    """Colours share one region: the pixels with the largest sum of magnitudes, others lowest."""
    images, gradient = drawn(2, 2, 1, 4), torch.zeros(2, 2, 1, 4)
    gradient[:, 0, 0] = torch.tensor([3.0, 0.0, -1.0, 0.0])
    gradient[:, 1, 0] = torch.tensor([0.0, 2.5, -1.0, 2.0])  # sums 3, 2.5, 2, 2
    weights = drawn(8, 3, seed=1)
    left = images.clone()
    left[..., 2:] = bounds[0]
    p = softmax(images.flatten(1) @ weights, dim=1)
    q = softmax(left.flatten(1) @ weights, dim=1)
    expected = (p * (p / q).log()).sum(dim=1)
    found = measured(lambda x: x.flatten(1) @ weights, images, gradient, bounds=bounds)
    # Two ways to the same sums, in float64.
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_what_is_left_has_its_size_where_all_gradients_are_equal() -> None:
    seen: list[torch.Tensor] = []

    def spied(images: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return images.flatten(1)

    measured(spied, torch.ones(3, 1, 5, 4), torch.zeros(3, 1, 5, 4), SalientAnswer(kept=0.3))
    assert [len(each) for each in seen] == [3, 3]
    assert seen[0].sum(dim=(1, 2, 3)).tolist() == [20.0] * 3
    assert seen[1].sum(dim=(1, 2, 3)).tolist() == [6.0] * 3


def test_training_by_it_moves_the_answer_to_the_salient_pixels() -> None:
    net = ConvNet(ConvNetConfig(image_side=8), seed=2)
    images = drawn(32, 1, 8, 8, seed=0).float()
    labels = torch.arange(32) % 10

    def lost() -> torch.Tensor:
        at = images.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(net(at), labels), at)
        return measured(net, images, gradient).mean()

    steps = torch.optim.Adam(net.parameters(), lr=0.01)
    losses = []
    for count in range(120):
        steps.zero_grad()
        lost_now = lost()
        losses.append(float(lost_now.detach()))
        # It learns to answer first; then it keeps its answers, by other pixels.
        (cross_entropy(net(images), labels) + (count >= 60) * 5.0 * lost_now).backward()
        steps.step()
    assert losses[60] > 0.1
    assert losses[-1] < 0.3 * losses[60]
    assert float((net(images).argmax(dim=1) == labels).float().mean()) > 0.5


def test_both_answers_are_taught() -> None:
    """The gradient is that of the whole divergence, by differences."""
    images, gradient = drawn(2, 1, 2, 3), drawn(2, 1, 2, 3, seed=4)
    weights = drawn(6, 3, seed=1).requires_grad_()
    (found,) = torch.autograd.grad(
        measured(lambda x: x.flatten(1) @ weights, images, gradient).sum(), weights
    )

    def value(at: torch.Tensor) -> torch.Tensor:
        return measured(lambda x: x.flatten(1) @ at, images, gradient).sum()

    for place in ((0, 0), (3, 1), (5, 2)):
        step = torch.zeros_like(weights)
        step[place] = 1e-5
        slope = (value(weights + step) - value(weights - step)) / 2e-5
        # Differences of 1e-5 in float64 are right to about 1e-10.
        assert float(slope.detach()) == pytest.approx(float(found[place]), abs=1e-8)


def test_passes() -> None:
    class Counting(nn.Module):
        passes = 0

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.passes += 1
            return images.flatten(1)

    net = Counting()
    measured(net, drawn(3, 1, 2, 2), drawn(3, 1, 2, 2))
    assert net.passes == CHOSEN.cost.forward == CHOSEN.cost.backward == 2


def test_a_gradient_that_is_none() -> None:
    gradient = drawn(3, 1, 2, 2)
    gradient[1] = float("nan")
    with pytest.raises(NonFiniteOutput, match="finite"):
        measured(lambda x: x.flatten(1), drawn(3, 1, 2, 2), gradient)


@pytest.mark.parametrize(
    "changes",
    [{"weight": -0.1}, {"weight": float("nan")}, {"kept": 0.0}, {"kept": 1.0}],
    ids=str,
)
def test_mistakes(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(changes))):
        replace(CHOSEN, **changes)
