"""What both optimizers that know the curvature promise: alone, and in front of another one."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from unit.scorpio.optimizations import X, Y, net, point, run

from fgmf.curvature import PassCount
from fgmf.errors import GradientUnavailable
from fgmf.scorpio import CurvatureAware, CurvatureOptimizer, CurvatureWrapped, Hutchinson

if TYPE_CHECKING:
    from collections.abc import Callable


def alone(params: Any, *, mode: Any = "exact", **options: Any) -> CurvatureOptimizer:
    return CurvatureAware(params, lr=0.1, mode=mode, seed=9, **options)


def around_sgd(params: Any, *, mode: Any = "exact", **options: Any) -> CurvatureOptimizer:
    base = torch.optim.SGD(params, lr=0.1, momentum=0.9)
    return CurvatureWrapped(base, estimating=Hutchinson(mode=mode, seed=9), **options)


def around_adamw(params: Any, *, mode: Any = "exact", **options: Any) -> CurvatureOptimizer:
    base = torch.optim.AdamW(params, lr=0.1, weight_decay=0.0)
    return CurvatureWrapped(base, estimating=Hutchinson(mode=mode, seed=9), **options)


each = pytest.mark.parametrize("make", [alone, around_sgd, around_adamw])


@each
@pytest.mark.parametrize("stop", [3, 10, 13])
def test_a_run_goes_on_bit_by_bit_where_it_stopped(
    make: Callable[..., CurvatureOptimizer], stop: int
) -> None:
    def made() -> tuple[nn.Module, CurvatureOptimizer]:
        model = net()
        groups = [{"params": model[0].parameters(), "lr": 0.05}, {"params": model[2].parameters()}]
        return model, make(groups, every=4)

    whole, optimizer = made()
    run(optimizer, lambda: cross_entropy(whole(X), Y), 20)
    first, optimizer = made()
    run(optimizer, lambda: cross_entropy(first(X), Y), stop)
    file = io.BytesIO()
    torch.save({"net": first.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second, optimizer = made()
    second.load_state_dict(saved["net"])
    optimizer.load_state_dict(saved["optimizer"])
    run(optimizer, lambda: cross_entropy(second(X), Y), 20 - stop)
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


@each
def test_compiled_models_refuse_the_exact_mode_and_take_secants(
    make: Callable[..., CurvatureOptimizer],
) -> None:
    model = net()
    compiled = torch.compile(model, backend="aot_eager")

    def loss() -> torch.Tensor:
        return cross_entropy(compiled(X), Y)

    exact = make(model.parameters())
    with pytest.raises(GradientUnavailable, match="finite-difference"):
        exact.update_curvature(loss)
    assert exact.due()
    losses = run(make(model.parameters(), mode="secant"), loss, 20)
    assert losses[-1] < losses[0]


@each
@pytest.mark.parametrize(
    ("mode", "passes"),
    [("exact", PassCount(forward=1, backward=2)), ("secant", PassCount(forward=2, backward=2))],
)
def test_an_estimate_costs_what_it_says_and_leaves_no_gradient(
    make: Callable[..., CurvatureOptimizer], mode: str, passes: PassCount
) -> None:
    x = point(1.0, 2.0)
    assert make([x], mode=mode).update_curvature(lambda: x.square().sum()) == passes
    assert x.grad is None
    assert x.tolist() == [1.0, 2.0]


@each
def test_what_is_not_finite_is_left_out_and_counted(
    make: Callable[..., CurvatureOptimizer],
) -> None:
    x = point(1.0, 2.0)
    optimizer = make([x])
    with pytest.warns(UserWarning, match="left out: its loss"):
        optimizer.update_curvature((x.square() * float("inf")).sum)
    assert (optimizer.skipped_estimates, len(optimizer.state)) == (1, 0)  # type: ignore[attr-defined]
    optimizer.update_curvature(lambda: x.square().sum())
    kept = optimizer.state[x]["curvature"].clone()
    optimizer.update_curvature((x.square() * float("inf")).sum)
    assert optimizer.skipped_estimates == 2  # type: ignore[attr-defined]
    assert torch.equal(optimizer.state[x]["curvature"], kept)


@each
@pytest.mark.parametrize("mode", ["exact", "secant"])
@pytest.mark.parametrize("loss", ["linear", "constant", "slope"])
def test_a_loss_of_nan_is_no_curvature_of_zero(
    make: Callable[..., CurvatureOptimizer], mode: str, loss: str
) -> None:
    """Their second derivatives are finite, all the same: NaN times x is linear."""
    x = point(1.0, 2.0)
    optimizer = make([x], mode=mode)
    losses = {
        "linear": lambda: torch.sum(x * float("nan")),
        "constant": lambda: x.square().sum() + float("nan"),
        "slope": lambda: x.square().sum() + _Steep.apply(x),
    }
    optimizer.update_curvature(lambda: x.square().sum())
    kept = optimizer.state[x]["curvature"].clone()
    with pytest.warns(UserWarning, match="not finite"):
        optimizer.update_curvature(losses[loss])
    assert optimizer.skipped_estimates == 1  # type: ignore[attr-defined]
    assert torch.equal(optimizer.state[x]["curvature"], kept)


class _Steep(torch.autograd.Function):
    """Zero, with a slope of NaN that depends on nothing."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.shape = x.shape
        return torch.zeros((), dtype=x.dtype)

    @staticmethod
    def backward(ctx: Any, *_slopes: torch.Tensor) -> torch.Tensor:
        return torch.full(ctx.shape, float("nan"), dtype=torch.float64)


@each
def test_estimates_near_the_largest_number_never_make_the_average_nan(
    make: Callable[..., CurvatureOptimizer],
) -> None:
    x = torch.ones(1, requires_grad=True)
    optimizer = make([x], curvature_decay=0.5)
    huge = torch.finfo(torch.float32).max
    for sign in (-1.0, 1.0, -1.0, 1.0):
        for share in (0.9, 0.2):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                optimizer.update_curvature(
                    lambda: x.square().sum(), lambda _, v=sign * share * huge: torch.full((1,), v)
                )
        assert bool(optimizer.state[x]["curvature"].isfinite().all())
    assert optimizer.skipped_estimates == 4  # type: ignore[attr-defined]


@each
def test_under_a_scaler_an_overflow_skips_the_step_and_the_estimate(
    make: Callable[..., CurvatureOptimizer],
) -> None:
    """As the scaler skips a step, an estimate that overflowed is skipped, and the run goes on."""
    x = torch.full((2,), 2.0, requires_grad=True)
    optimizer = make([x])
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**4)

    def update(factor: float) -> None:
        def loss() -> torch.Tensor:
            with torch.autocast("cpu", dtype=torch.float16):
                rows = x[None] * factor @ x[:, None]  # in float16, whose largest number is 65504
            return rows.sum().float()

        optimizer.update_curvature(loss)
        optimizer.zero_grad()
        scaler.scale(loss()).backward()
        scaler.step(optimizer)
        scaler.update()

    update(1.0)
    kept, before = optimizer.state[x]["curvature"].clone(), x.detach().clone()
    with pytest.warns(UserWarning, match="left out"):
        update(1e5)
    assert torch.equal(x.detach(), before)
    assert torch.equal(optimizer.state[x]["curvature"], kept)
    update(1.0)
    assert bool(x.isfinite().all())
    assert not torch.equal(x.detach(), before)
    assert optimizer.skipped_estimates == 1  # type: ignore[attr-defined]


@each
def test_what_is_combined_is_what_counts(make: Callable[..., CurvatureOptimizer]) -> None:
    """Three times the estimate of 2 makes curvature 6, before the decay's bias is out."""
    x = point(1.0, 2.0)
    optimizer = make([x], curvature_decay=0.5)
    optimizer.update_curvature(lambda: x.square().sum(), lambda estimate: 3 * estimate)
    torch.testing.assert_close(optimizer.state[x]["curvature"], torch.full((2,), 3.0).double())


@each
def test_closures_and_parameters_without_gradient(
    make: Callable[..., CurvatureOptimizer],
) -> None:
    x, frozen = point(1.0), torch.ones(2, dtype=torch.float64)
    optimizer = make([x, frozen])

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = x.square().sum()
        loss.backward()
        return loss

    with pytest.warns(UserWarning, match="a step without any estimate"):
        assert float(optimizer.step(closure).detach()) == 1.0
    assert x.detach().tolist() == pytest.approx([0.9])  # no estimate yet: a step of the rate
    optimizer.step()  # told once; warnings are errors here
    optimizer.update_curvature(lambda: x.square().sum())
    assert frozen.tolist() == [1.0, 1.0]
