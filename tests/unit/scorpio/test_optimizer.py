"""The optimizer on losses with known curvature: negative, stiff, and in mixed precision."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from unit.scorpio.optimizations import point, run

from fgmf.curvature import PassCount
from fgmf.errors import InvalidInput
from fgmf.scorpio import CurvatureAware

STIFF = torch.tensor([100.0, 10.0, 1.0, 0.1]).double()


class TestTheEstimate:
    def test_the_diagonal_of_a_diagonal_hessian_is_exact_at_once(self) -> None:
        x = point(1.0, 2.0, -1.0, 0.5)
        curvatures = STIFF * torch.tensor([1.0, -1.0, 1.0, -1.0])
        optimizer = CurvatureAware([x])
        cost = optimizer.update_curvature(lambda: (curvatures * x.square()).sum() / 2)
        state = optimizer.state[x]
        torch.testing.assert_close(state["curvature"] / state["curvature_weight"], curvatures)
        assert cost == PassCount(forward=1, backward=2)
        assert x.grad is None

    @pytest.mark.parametrize("mode", ["exact", "secant"])
    def test_losses_that_are_not_one_number_are_refused(self, mode: str) -> None:
        x = point(1.0, 2.0)
        optimizer = CurvatureAware([x], mode=mode)  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match=r"one loss, got a tensor of shape \(2,\)"):
            optimizer.update_curvature(x.square)

    def test_many_estimates_come_near_the_diagonal_of_any(self) -> None:
        half = torch.randn(5, 5, generator=torch.Generator().manual_seed(0)).double()
        hessian, x = half + half.T, point(1.0, 2.0, 3.0, 4.0, 5.0)
        optimizer = CurvatureAware([x], curvature_decay=0.998)
        for _ in range(1000):
            optimizer.update_curvature(lambda: x @ hessian @ x / 2)
        state = optimizer.state[x]
        found = state["curvature"] / state["curvature_weight"]
        # An average over about 500 draws of spread 3: an error of about .13.
        torch.testing.assert_close(found, hessian.diagonal(), atol=0.5, rtol=0)

    def test_secants_see_bends_that_exact_curvature_misses(self) -> None:
        """|x| has no curvature but at 0; a step across it has."""
        x = point(0.05, -0.05)
        exact, secant = CurvatureAware([x]), CurvatureAware([x], mode="secant", secant_step=0.1)
        for optimizer in (exact, secant):
            for _ in range(40):
                optimizer.update_curvature(lambda: x.abs().sum())
        assert float(exact.state[x]["curvature"].abs().max()) == 0.0
        assert float(secant.state[x]["curvature"].min()) > 5.0
        assert x.detach().tolist() == [0.05, -0.05]


class TestNegativeCurvature:
    """f = (a x^2 - b y^2) / 2 + y^4 / 4: a saddle at 0, minima at y = +- sqrt(b)."""

    @staticmethod
    def saddle(xy: torch.Tensor) -> torch.Tensor:
        return (4 * xy[0] ** 2 - xy[1] ** 2) / 2 + xy[1] ** 4 / 4

    def test_it_leaves_the_saddle_that_newton_runs_into(self) -> None:
        ours, newton = point(1.0, 0.1), point(1.0, 0.1)
        losses = run(
            CurvatureAware([ours], lr=0.02, scale=1.0, every=1), lambda: self.saddle(ours), 300
        )
        for _ in range(20):
            (slope,) = torch.autograd.grad(self.saddle(newton), newton)
            bend = torch.stack([torch.tensor(4.0).double(), -1 + 3 * newton[1].detach() ** 2])
            with torch.no_grad():
                newton -= slope / bend
        assert newton.detach().tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
        assert ours.detach().tolist() == pytest.approx([0.0, 1.0], abs=0.02)
        assert losses[-1] == pytest.approx(-0.25, abs=1e-3)

    def test_no_step_is_longer_than_the_rate_however_curved(self) -> None:
        xy = point(3.0, 1e-3)
        optimizer = CurvatureAware([xy], lr=0.05, every=1)
        for _ in range(100):
            before = xy.detach().clone()
            run(optimizer, lambda: self.saddle(xy), 1)
            assert float((xy.detach() - before).abs().max()) <= 0.05 + 1e-12

    def test_the_clamp_is_what_does_it(self) -> None:
        """With negative curvature taken as it is, the sign of the step would turn uphill."""
        xy = point(0.0, 0.1)
        optimizer = CurvatureAware([xy], lr=0.01, scale=1.0)
        optimizer.update_curvature(lambda: self.saddle(xy))
        assert float(optimizer.state[xy]["curvature"][1]) < 0
        run(optimizer, lambda: self.saddle(xy), 1)
        assert float(xy[1].detach()) == pytest.approx(0.11)


class TestStiffness:
    def test_it_is_done_where_gradient_descent_is_not(self) -> None:
        def loss_of(x: torch.Tensor) -> torch.Tensor:
            return (STIFF * x.square()).sum() / 2

        ours, plain = (point(1.0, 1.0, 1.0, 1.0) for _ in "ab")
        run(
            CurvatureAware([ours], lr=0.1, scale=1.0, beta=0.0, every=5), lambda: loss_of(ours), 100
        )
        sgd = torch.optim.SGD([plain], lr=1.9 / 100)  # 2 / 100 is the largest that is stable
        for _ in range(100):
            sgd.zero_grad()
            loss_of(plain).backward()
            sgd.step()
        assert float(loss_of(ours).detach()) < 1e-6
        assert float(loss_of(plain).detach()) > 1e-2

    def test_a_network_learns(self) -> None:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3))
        x = torch.randn(64, 4)
        y = x[:, :3].argmax(dim=1)
        losses = run(
            CurvatureAware(net.parameters(), lr=0.02), lambda: cross_entropy(net(x), y), 100
        )
        assert losses[-1] < 0.2 * losses[0]


class TestTheInterface:
    def test_the_step_written_out(self) -> None:
        x, y = point(1.0, -2.0), point(0.5)
        groups = [{"params": [x], "lr": 0.1, "weight_decay": 0.5}, {"params": [y], "scale": 2.0}]
        optimizer = CurvatureAware(groups, lr=0.01, beta=0.6, scale=1.0, curvature_decay=0.9)

        def loss() -> torch.Tensor:
            return x.pow(4).sum() + 3 * y.square().sum()

        run(optimizer, loss, 2)
        expected = {"x": torch.tensor([1.0, -2.0]).double(), "y": torch.tensor([0.5]).double()}
        bends = {"x": 12 * expected["x"] ** 2, "y": torch.tensor([6.0]).double()}
        scales, rates, decays = {"x": 1.0, "y": 2.0}, {"x": 0.1, "y": 0.01}, {"x": 0.5, "y": 0.0}
        momentum = {"x": torch.zeros(2).double(), "y": torch.zeros(1).double()}
        for t in (1, 2):
            for name, value in expected.items():
                slope = 4 * value**3 if name == "x" else 6 * value
                momentum[name] = 0.6 * momentum[name] + 0.4 * slope
                m = momentum[name] / (1 - 0.6**t)
                step = (m / (scales[name] * bends[name])).clamp(-1, 1)
                expected[name] = value * (1 - rates[name] * decays[name]) - rates[name] * step
        torch.testing.assert_close(x.detach(), expected["x"])
        torch.testing.assert_close(y.detach(), expected["y"])

    def test_seeds(self) -> None:
        def curvature(seed: int) -> torch.Tensor:
            x = point(1.0, 2.0, 3.0)
            optimizer = CurvatureAware([x], seed=seed)
            optimizer.update_curvature(lambda: x.sum() ** 2)
            return optimizer.state[x]["curvature"]

        state = torch.get_rng_state()
        assert torch.equal(curvature(1), curvature(1))
        assert torch.equal(torch.get_rng_state(), state)
        assert any(not torch.equal(curvature(1), curvature(s)) for s in range(2, 6))

    def test_scaled_gradients_and_clipping(self) -> None:
        """With a scaler and autocast, as without them; and a step with infinite slopes is left."""
        torch.manual_seed(0)
        nets = [nn.Linear(4, 3) for _ in range(2)]
        nets[1].load_state_dict(nets[0].state_dict())
        x, y = torch.randn(16, 4), torch.arange(16) % 3
        plain, scaled = (CurvatureAware(net.parameters(), lr=0.05) for net in nets)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
        for step in range(6):
            for net, optimizer in zip(nets, (plain, scaled), strict=True):
                if optimizer.due():
                    optimizer.update_curvature(lambda net=net: cross_entropy(net(x), y))
                optimizer.zero_grad()
            cross_entropy(nets[0](x), y).backward()
            nn.utils.clip_grad_norm_(nets[0].parameters(), 0.1)
            plain.step()
            scaler.scale(cross_entropy(nets[1](x), y)).backward()
            scaler.unscale_(scaled)
            nn.utils.clip_grad_norm_(nets[1].parameters(), 0.1)
            scaler.step(scaled)
            scaler.update()
            # The scale is a power of two: only sums of gradients could round otherwise.
            torch.testing.assert_close(nets[0].weight, nets[1].weight, atol=1e-6, rtol=0)
            assert scaled.param_groups[0]["steps"] == step + 1
        kept = copy.deepcopy(nets[1].state_dict())
        scaled.zero_grad()
        scaler.scale(cross_entropy(nets[1](x), y) * float("inf")).backward()
        scaler.step(scaled)
        scaler.update()
        assert all(torch.equal(v, kept[k]) for k, v in nets[1].state_dict().items())

    def test_autocast(self) -> None:
        torch.manual_seed(0)
        net, x, y = nn.Linear(4, 3), torch.randn(16, 4), torch.arange(16) % 3

        def loss() -> torch.Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return cross_entropy(net(x), y)

        optimizer = CurvatureAware(net.parameters(), lr=0.05, every=2)
        losses = run(optimizer, loss, 30)
        assert losses[-1] < losses[0]
        kept = [state["curvature"] for state in optimizer.state.values()]
        assert [c.dtype for c in kept] == [torch.float32] * 2
        assert all(float(c.abs().max()) > 0 for c in kept)

    @pytest.mark.parametrize(
        "changes",
        [
            {"lr": -1.0},
            {"lr": float("nan")},
            {"beta": 1.0},
            {"curvature_decay": -0.1},
            {"scale": 0.0},
            {"floor": 0.0},
            {"weight_decay": -1.0},
            {"every": 0},
            {"mode": "finite"},
            {"secant_step": 0.0},
        ],
        ids=str,
    )
    def test_mistakes(self, changes: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput, match=next(iter(changes))):
            CurvatureAware([point(1.0)], **changes)

    def test_mistakes_in_groups(self) -> None:
        with pytest.raises(InvalidInput, match="lr"):
            CurvatureAware([{"params": [point(1.0)], "lr": -1.0}])
