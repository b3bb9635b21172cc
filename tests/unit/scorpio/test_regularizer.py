"""The penalty: its parts on losses that are known, its graph, and its passes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from oracles.known_hessians import Quadratic
from torch import nn

from fgmf.curvature import ImageLoss, PassCount
from fgmf.errors import GradientUnavailable, InvalidInput
from fgmf.scorpio import QuadraticAscent, Ramp, Salience, Scorpio, scorpio_penalty

ASCENT = QuadraticAscent(epsilon=0.2, steps=1)
IMAGES = torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0)).double()
LABELS = torch.tensor([0, 1, 2, 0])


def net_of(activation: type[nn.Module] = nn.GELU) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(16, 12), activation(), nn.Linear(12, 3)
        ).double()


def found(loss_of: Any, scorpio: Scorpio, images: torch.Tensor = IMAGES) -> Any:
    return scorpio_penalty(loss_of, images, scorpio, draws=torch.Generator().manual_seed(0))


class TestV1:
    def test_the_rise_of_a_quadratic_is_its_own(self) -> None:
        """The trapezoid rule is exact there: R = l(x + d) - l(x)."""
        quadratic = Quadratic(4, 16)
        penalty = found(quadratic, Scorpio.v1(ASCENT, weight=2.0))
        rise = quadratic(IMAGES + penalty.displacement) - quadratic(IMAGES)
        torch.testing.assert_close(penalty.rise, rise)
        torch.testing.assert_close(penalty.penalty, 2.0 * rise.mean())
        torch.testing.assert_close(penalty.losses, quadratic(IMAGES))
        assert bool(penalty.region.all())

    def test_training_by_it_lowers_the_rise(self) -> None:
        net = net_of()
        loss = ImageLoss(model=net, labels=LABELS)
        optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
        rises = []
        for _ in range(30):
            penalty = found(loss, Scorpio.v1(ASCENT))
            rises.append(float(penalty.rise.mean()))
            optimizer.zero_grad()
            penalty.penalty.backward()
            optimizer.step()
        assert rises[-1] < 0.5 * rises[0]

    def test_the_gradient_in_the_parameters(self) -> None:
        """Against a difference of two values, the displacement held."""
        net = net_of()
        loss = ImageLoss(model=net, labels=LABELS)
        penalty = found(loss, Scorpio.v1(ASCENT))
        (slope,) = torch.autograd.grad(penalty.penalty, net[1].weight)
        index = (2, 5)

        def value() -> float:
            def gradient(at: torch.Tensor) -> torch.Tensor:
                at = at.detach().requires_grad_()
                return torch.autograd.grad(loss(at).sum(), at)[0]

            d = penalty.displacement
            both = gradient(IMAGES) + gradient(IMAGES + d)
            return float((d * both / 2).flatten(1).sum(dim=1).mean())

        values = []
        for h in (1e-5, -2e-5):
            with torch.no_grad():
                net[1].weight[index] += h
            values.append(value())
        # Truncation of order 1e-10, rounding of 1e-16 over 2e-5.
        assert float(slope[index]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5)


class TestV2:
    def test_it_moves_salient_pixels_only(self) -> None:
        loss = ImageLoss(model=net_of(), labels=LABELS)
        penalty = found(loss, Scorpio(ascent=ASCENT, salience=Salience(share=0.25)))
        assert penalty.region.flatten(1).sum(dim=1).tolist() == [4] * 4
        outside = ~penalty.region.expand_as(penalty.displacement)
        assert float(penalty.displacement[outside].abs().max()) == 0.0
        assert float(penalty.displacement.abs().max()) == pytest.approx(0.2)

    def test_only_what_raises_the_loss_is_penalised(self) -> None:
        """Two pixels: along one the loss first rises and then falls by more."""

        def loss(x: torch.Tensor) -> torch.Tensor:
            up, bump = x.flatten(1)[:, 0], x.flatten(1)[:, 1]
            return up + bump - 30 * bump.square()

        images = torch.zeros(1, 1, 1, 2, dtype=torch.float64)
        ascent = QuadraticAscent(epsilon=0.2, steps=0)
        everything = Scorpio(ascent=ascent, salience=None, exploitable_only=False)
        rising = Scorpio(ascent=ascent, salience=None)
        # d = (.2, .2); rises .2 and .2 - 1.2 = -1.
        assert found(loss, everything, images).rise.tolist() == pytest.approx([-0.8])
        assert found(loss, rising, images).rise.tolist() == pytest.approx([0.2])

    def test_negative_curvature_of_a_quadratic(self) -> None:
        quadratic = Quadratic(4, 16)
        scorpio = Scorpio(ascent=ASCENT, salience=None, weight=0.0, psd_weight=3.0)
        penalty = found(quadratic, scorpio)
        d = penalty.displacement.flatten(1)
        bend = (d[:, None] @ quadratic.hessian @ d[:, :, None]).flatten() / d.square().sum(dim=1)
        torch.testing.assert_close(penalty.negative_curvature, (-bend).relu())
        torch.testing.assert_close(penalty.penalty, 3.0 * (-bend).relu().mean())
        assert 0 < int((bend < 0).sum()) < 4  # both kinds are among them

    def test_the_psd_penalty_straightens_a_concave_loss(self) -> None:
        bend = torch.tensor(-2.0, dtype=torch.float64, requires_grad=True)

        def loss(x: torch.Tensor) -> torch.Tensor:
            flat = x.flatten(1)
            return flat.sum(dim=1) + bend * flat.square().sum(dim=1)

        scorpio = Scorpio(ascent=ASCENT, salience=None, weight=0.0, psd_weight=1.0)
        penalty = found(loss, scorpio)
        assert penalty.negative_curvature.tolist() == pytest.approx([4.0] * 4)
        penalty.penalty.backward()
        assert float(bend.grad) == pytest.approx(-2.0)  # downhill is towards 0

    def test_drift_of_the_explanation(self) -> None:
        """A loss whose gradient turns by a known angle; and one whose gradient stays."""

        def turning(x: torch.Tensor) -> torch.Tensor:
            a, b = x.flatten(1)[:, 0], x.flatten(1)[:, 1]
            return a + 5 * a * b  # gradient (1 + 5 b, 5 a): from (1, 0) to (2, 1) at (.2, .2)

        ascent = QuadraticAscent(epsilon=0.2, steps=1)
        scorpio = Scorpio(ascent=ascent, salience=None, keep_weight=1.0, weight=0.0)
        images = torch.tensor([[[[0.0, 1e-9]]]], dtype=torch.float64)
        penalty = found(turning, scorpio, images)
        d = penalty.displacement.flatten()
        there = torch.stack([1 + 5 * d[1], 5 * d[0]])
        assert float(penalty.drift) == pytest.approx(float(1 - there[0] / there.norm()), abs=1e-7)
        assert float(penalty.drift) > 0.01
        straight = found(lambda x: x.flatten(1).sum(dim=1), scorpio)
        assert float(straight.drift.abs().max()) < 1e-12

    def test_the_explanation_at_the_image_is_what_is_kept(self) -> None:
        """It is detached: only the one at the moved image is drawn towards it."""
        t = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)

        def loss(x: torch.Tensor) -> torch.Tensor:
            a, b = x.flatten(1)[:, 0], x.flatten(1)[:, 1]
            return t * a + b + 5 * a * b  # gradient (t + 5 b, 1 + 5 a)

        ascent = QuadraticAscent(epsilon=0.2, steps=0)
        scorpio = Scorpio(ascent=ascent, salience=None, keep_weight=1.0, weight=0.0)
        found(loss, scorpio, torch.zeros(1, 1, 1, 2, dtype=torch.float64)).penalty.backward()
        slope = t.grad
        moved = torch.stack([t + 1.0, torch.tensor(2.0).double()])  # at (.2, .2)
        kept = torch.tensor([2.0, 1.0], dtype=torch.float64)
        drift = 1.0 - (kept @ moved) / (kept.norm() * moved.norm())
        (expected,) = torch.autograd.grad(drift, t)
        torch.testing.assert_close(slope, expected)

    def test_drift_is_that_of_the_salient_pixels(self) -> None:
        loss = ImageLoss(model=net_of(), labels=LABELS)
        scorpio = Scorpio(
            ascent=ASCENT, salience=Salience(method="gradient", share=0.25), keep_weight=1.0
        )
        penalty = found(loss, scorpio)
        both = []
        for place in (IMAGES, IMAGES + penalty.displacement):
            at = place.clone().requires_grad_()
            slope = torch.autograd.grad(loss(at).sum(), at)[0]
            both.append(torch.where(penalty.region, slope, 0.0).flatten(1))
        expected = 1 - nn.functional.cosine_similarity(both[0], both[1], dim=1)
        torch.testing.assert_close(penalty.drift, expected)

    def test_what_is_left_out_is_zero(self) -> None:
        penalty = found(Quadratic(4, 16), Scorpio(ascent=ASCENT))
        assert float(penalty.negative_curvature.abs().max()) == 0.0
        assert float(penalty.drift.abs().max()) == 0.0
        torch.testing.assert_close(penalty.penalty, penalty.rise.mean())

    def test_noise_baselines_come_from_the_draws(self) -> None:
        loss = ImageLoss(model=net_of(), labels=LABELS)
        scorpio = Scorpio(ascent=ASCENT, salience=Salience(baseline="noise"))
        regions = [
            scorpio_penalty(loss, IMAGES, scorpio, draws=torch.Generator().manual_seed(seed)).region
            for seed in (1, 1, 2)
        ]
        assert torch.equal(regions[0], regions[1])
        assert not torch.equal(regions[0], regions[2])


class TestCost:
    @pytest.mark.parametrize("mode", ["finite-difference", "double-backward"])
    @pytest.mark.parametrize("salience", [None, Salience(steps=2), Salience(method="gradient")])
    @pytest.mark.parametrize("steps", [0, 1, 2])
    def test_what_is_said_is_what_is_spent(self, mode: Any, salience: Any, steps: int) -> None:
        net, calls = net_of(), []
        scorpio = Scorpio(
            ascent=QuadraticAscent(epsilon=0.1, steps=steps), mode=mode, salience=salience
        )
        with net.register_forward_hook(lambda *_: calls.append(1)):
            penalty = found(ImageLoss(model=net, labels=LABELS), scorpio)
        assert penalty.cost == scorpio.cost
        assert len(calls) == scorpio.cost.forward

    def test_v1_with_one_step(self) -> None:
        assert Scorpio.v1(ASCENT).cost == PassCount(forward=3, backward=3)


def test_compiled_models_cannot_be_trained_through_gradients() -> None:
    compiled = torch.compile(net_of(), backend="aot_eager")
    loss = ImageLoss(model=compiled, labels=LABELS)
    with pytest.raises(GradientUnavailable, match=r"torch\.compile"):
        found(loss, Scorpio(ascent=ASCENT, mode="double-backward"))


def test_budgets_can_be_scaled() -> None:
    scorpio = Scorpio(ascent=ASCENT, weight=3.0)
    assert scorpio.scaled(0.5).ascent.epsilon == pytest.approx(0.1)
    assert scorpio.scaled(0.5).weight == 3.0
    assert scorpio.scaled(0.0).ascent.epsilon > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"weight": -1.0},
        {"psd_weight": float("nan")},
        {"keep_weight": float("inf")},
        {"mode": "central-difference"},
        {"secant_step": 0.0},
    ],
    ids=str,
)
def test_mistakes(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(changes))):
        Scorpio(**{"ascent": ASCENT, **changes})


class TestRamp:
    def test_lines(self) -> None:
        ramp = Ramp(start=1.0, end=3.0, until=0.5)
        assert [ramp.at(p) for p in (0.0, 0.25, 0.5, 1.0)] == [1.0, 2.0, 3.0, 3.0]
        assert Ramp(end=4.0, until=0.0).at(0.0) == 4.0

    def test_cosines(self) -> None:
        ramp = Ramp(start=0.0, end=2.0, until=1.0, smooth=True)
        values = [ramp.at(p) for p in (0.0, 0.25, 0.5, 1.0)]
        assert values == pytest.approx([0.0, 1 - 2**-0.5, 1.0, 2.0])

    @pytest.mark.parametrize("changes", [{"start": float("nan")}, {"until": 1.5}], ids=str)
    def test_mistakes(self, changes: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput, match=next(iter(changes))):
            Ramp(**changes)
