"""An optimizer behind a clamped diagonal: written out, resumed, and in its own ways of use."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from unit.scorpio.optimizations import X, Y, net, point, run

from fgmf.curvature import PassCount
from fgmf.errors import InvalidInput, StaleEvidence
from fgmf.scorpio import CurvatureWrapped


def test_the_step_written_out() -> None:
    """x^4 has curvature 12 x^2, -3 y^2 has -6, which counts as the floor: a sign step."""
    x, y = point(1.0, -2.0), point(0.5)
    groups = [{"params": [x], "lr": 0.1}, {"params": [y], "lr": 0.2}]
    base = torch.optim.SGD(groups, momentum=0.9, weight_decay=0.01)
    optimizer = CurvatureWrapped(base, scale=1.0)
    spent = optimizer.update_curvature(lambda: x.pow(4).sum() - 3 * y.square().sum())
    assert spent == PassCount(forward=1, backward=2)
    first = {"x": x.detach().clone(), "y": y.detach().clone()}
    run(optimizer, lambda: x.pow(4).sum() - 3 * y.square().sum(), 2)
    expected, momentum = dict(first), {"x": torch.zeros(()), "y": torch.zeros(())}
    bends = {"x": 12 * first["x"] ** 2, "y": torch.tensor([1e-8]).double()}
    for _ in range(2):
        for name, rate in (("x", 0.1), ("y", 0.2)):
            value = expected[name]
            slope = 4 * value**3 if name == "x" else -6 * value
            divided = (slope / bends[name]).clamp(-1, 1) + 0.01 * value
            momentum[name] = 0.9 * momentum[name] + divided
            expected[name] = value - rate * momentum[name]
    torch.testing.assert_close(x.detach(), expected["x"])
    torch.testing.assert_close(y.detach(), expected["y"])


def test_it_leaves_the_saddle_whose_stiff_side_holds_the_base_back() -> None:
    """(100 x^2 - y^2 / 10) / 2 + y^4 / 4, minima at y = +- sqrt(.1): SGD's rate must be < .02."""

    def saddle(xy: torch.Tensor) -> torch.Tensor:
        return (100 * xy[0] ** 2 - xy[1] ** 2 / 10) / 2 + xy[1] ** 4 / 4

    ours, plain = point(1.0, 1e-3), point(1.0, 1e-3)
    run(CurvatureWrapped(torch.optim.SGD([ours], lr=0.02), scale=1.0), lambda: saddle(ours), 200)
    sgd = torch.optim.SGD([plain], lr=0.019)
    for _ in range(200):
        sgd.zero_grad()
        saddle(plain).backward()
        sgd.step()
    assert abs(float(ours[1].detach())) == pytest.approx(0.1**0.5, abs=0.03)
    assert abs(float(plain[1].detach())) < 0.01


@pytest.mark.filterwarnings("ignore:a step without any estimate")
def test_gradients_are_as_they_were_after_a_step_also_after_an_error() -> None:
    class Breaks(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            raise RuntimeError("broken")

    x = point(3.0)
    for kind in (torch.optim.SGD, Breaks):
        x.grad = torch.tensor([7.0]).double()
        optimizer = CurvatureWrapped(kind([x], lr=0.1))
        if kind is Breaks:
            with pytest.raises(RuntimeError, match="broken"):
                optimizer.step()
        else:
            optimizer.step()
            assert x.detach().tolist() == pytest.approx([2.9])
        assert x.grad.tolist() == [7.0]


@pytest.mark.filterwarnings("ignore:a step without any estimate")
def test_schedulers_groups_and_scalers() -> None:
    model, late = net(), point(1.0)
    optimizer = CurvatureWrapped(torch.optim.SGD(model.parameters(), lr=0.1))
    optimizer.add_param_group({"params": [late], "lr": 0.5})
    assert optimizer.base is not None
    assert len(optimizer.base.param_groups) == len(optimizer.param_groups) == 2
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    before = late.detach().clone()
    loss = cross_entropy(model(X), Y) + late.sum()
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    scaler.step(optimizer)
    scaler.update()
    scheduler.step()
    assert float(before - late.detach()) == pytest.approx(0.5)  # no estimate: a sign step
    assert [group["lr"] for group in optimizer.base.param_groups] == [0.05, 0.25]


@pytest.mark.parametrize(
    "changes",
    [{"curvature_decay": 1.0}, {"scale": 0.0}, {"floor": float("nan")}, {"every": 0}],
    ids=str,
)
def test_mistakes(changes: dict[str, Any]) -> None:
    base = torch.optim.SGD([point(1.0)], lr=0.1)
    with pytest.raises(InvalidInput, match=next(iter(changes))):
        CurvatureWrapped(base, **changes)


def test_what_is_no_optimizer_and_another_state() -> None:
    with pytest.raises(InvalidInput, match="an optimizer to wrap, got str"):
        CurvatureWrapped("sgd")  # type: ignore[arg-type]
    one, other = (
        CurvatureWrapped(torch.optim.SGD([point(*values)], lr=0.1))
        for values in ((1.0, 2.0), (1.0, 2.0, 3.0))
    )
    one.update_curvature(lambda: one.param_groups[0]["params"][0].square().sum())
    with pytest.raises(StaleEvidence, match="of these parameters"):
        other.load_state_dict(one.state_dict())
