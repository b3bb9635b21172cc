"""What both optimizers that know the curvature promise: alone, and in front of another one."""

from __future__ import annotations

import io
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
    optimizer.update_curvature((x.square() * float("inf")).sum)
    assert (optimizer.skipped_estimates, len(optimizer.state)) == (1, 0)  # type: ignore[attr-defined]
    optimizer.update_curvature(lambda: x.square().sum())
    kept = optimizer.state[x]["curvature"].clone()
    optimizer.update_curvature((x.square() * float("inf")).sum)
    assert optimizer.skipped_estimates == 2  # type: ignore[attr-defined]
    assert torch.equal(optimizer.state[x]["curvature"], kept)


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
