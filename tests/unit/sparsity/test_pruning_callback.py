"""The callback that prunes: what a resumption takes over, and what it does to a training."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from fgmf.sparsity import PruningSchedule, ScheduledPruning, SparsityPattern
from fgmf.training.averaging import WeightAverage

HALF = SparsityPattern.of({"weight": torch.tensor([[True, False], [False, True]])})


def _run(step: int) -> Any:
    model = nn.Linear(2, 2, bias=False)
    average = WeightAverage(model, 0.5)
    run = SimpleNamespace(model=model, average=average, step=step, steps=10, notes={})
    run.note = run.notes.__setitem__
    return run


def _never(_model: nn.Module, _share: float) -> SparsityPattern:
    raise AssertionError("nothing is chosen anew")


def test_a_resumption_takes_over_what_was_gone_and_chooses_nothing() -> None:
    schedule = PruningSchedule(final_share=0.5, begin=0.1, shape="one-shot")
    first, run = ScheduledPruning(lambda _m, _s: HALF, schedule), _run(3)
    first.begin(run)
    assert first.pattern == HALF
    again, fresh = ScheduledPruning(_never, schedule), _run(4)
    again.load_state_dict(first.state_dict())
    again.begin(fresh)
    assert again.pattern == HALF
    assert HALF.violations(fresh.model) == {}
    again.after_update(fresh)
    assert fresh.notes == {"pruned_share": 0.5}


def test_weights_average_and_gradients_are_silent_where_something_went() -> None:
    schedule = PruningSchedule(final_share=0.5, begin=0.1, shape="one-shot")
    pruning, run = ScheduledPruning(lambda _m, _s: HALF, schedule), _run(0)
    pruning.begin(run)
    assert pruning.pattern.tensors == {}  # not due yet
    run.step = 1
    pruning.after_update(run)
    gone = ~HALF.kept()["weight"]
    assert not bool(run.model.weight.detach()[gone].any())
    assert not bool(run.average.state_dict()["weight"][gone].any())
    assert bool(run.average.state_dict()["weight"][~gone].all())
    run.model.weight.grad = torch.ones(2, 2)
    pruning.before_step(run)
    assert torch.equal(run.model.weight.grad, HALF.kept()["weight"].float())
    with torch.no_grad():
        run.model.weight.add_(1.0)
    pruning.after_step(run)
    assert HALF.violations(run.model) == {}
