"""Decision rules: what they compute, and how many liars they stand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fgmf.agents import RULES, build_rule, tolerated
from fgmf.agents.rules import LearnedGate, TrimmedMean, Weighted
from fgmf.errors import InvalidInput

# Sums of a handful of float64 numbers in another order.
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def _said(agents: int, images: int = 5, classes: int = 4, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(agents, images, classes, generator=generator, dtype=torch.float64)
    return logits.log_softmax(dim=2)


def test_the_mean_is_the_geometric_pool() -> None:
    said = _said(3)
    pool = said.exp().prod(dim=0) ** (1 / 3)
    scores = build_rule("mean-log-probability", 3)(said, (0, 1, 2))
    torch.testing.assert_close(scores.softmax(dim=1), pool / pool.sum(1, keepdim=True), **CLOSE)


def test_weights_follow_their_agents() -> None:
    said = _said(3)
    rule = Weighted(3, [1.0, 2.0, 5.0]).double()
    expected = (1 * said[0] + 5 * said[2]) / 6
    torch.testing.assert_close(rule(said[[0, 2]], (0, 2)), expected, rtol=1e-6, atol=1e-6)
    # float32 logarithms of the weights


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -1.0], [1.0, float("nan")]])
def test_weights_that_are_none(weights: list[float]) -> None:
    with pytest.raises(InvalidInput, match="2 finite numbers above 0"):
        Weighted(2, weights)


def test_votes_are_counted() -> None:
    votes = torch.tensor([[1, 0], [1, 2], [3, 2], [0, 3], [1, 3]])
    said = (9.0 * nn.functional.one_hot(votes, 4)).log_softmax(dim=2)
    expected = torch.tensor([[1.0, 3, 0, 1], [1, 0, 2, 2]])
    scores = build_rule("majority", 5)(said.requires_grad_(), range(5))
    assert torch.equal(scores, expected)
    assert not scores.requires_grad
    assert scores.argmax(dim=1).tolist() == [1, 2]  # a tie goes to the lowest class


def test_who_says_nan_has_no_vote() -> None:
    said = _said(2, images=1)
    said[0] = torch.nan
    assert float(build_rule("majority", 2)(said, (0, 1)).sum()) == 1


def test_a_gate_leaves_out_who_says_nan() -> None:
    said = _said(3)
    rule: Any = build_rule("learned", 3)
    with torch.no_grad():
        rule.network[2].weight.normal_(generator=torch.Generator().manual_seed(0))
    without = rule(said[[0, 2]], (0, 2))
    said[1] = torch.nan
    # float32 sums of three terms in place of two
    torch.testing.assert_close(rule(said, (0, 1, 2)), without, rtol=1e-5, atol=1e-5)
    assert bool(rule(torch.full_like(said, torch.nan), (0, 1, 2)).isnan().all())


@pytest.mark.parametrize("agents", [1, 2, 3, 4, 5, 8, 9])
def test_median_and_trimmed_mean_as_numpy_has_them(agents: int) -> None:
    said = _said(agents)
    members = range(agents)
    median = torch.from_numpy(np.median(said.numpy(), axis=0))
    torch.testing.assert_close(build_rule("median", agents)(said, members), median, **CLOSE)
    trim = tolerated("trimmed-mean", agents)
    kept = np.sort(said.numpy(), axis=0)[trim : agents - trim]
    trimmed = build_rule("trimmed-mean", agents)(said, members)
    torch.testing.assert_close(trimmed, torch.from_numpy(kept.mean(axis=0)), **CLOSE)


def test_fewer_agents_than_are_trimmed() -> None:
    said = _said(2)
    torch.testing.assert_close(TrimmedMean(3)(said, (0, 1)), said.mean(dim=0), **CLOSE)


@pytest.mark.parametrize("rule", ["median", "trimmed-mean"])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_tolerated_liars_leave_scores_between_the_honest(rule: str, data: st.DataObject) -> None:
    agents = data.draw(st.integers(1, 9))
    count = tolerated(rule, agents)  # type: ignore[arg-type]
    liars = data.draw(st.permutations(range(agents)))[:count]
    said = _said(agents, images=2, seed=data.draw(st.integers(0, 99)))
    honest = said[[i for i in range(agents) if i not in liars]]
    lie = st.sampled_from([-1e9, -50.0, -1.0, 0.0, float("nan")])
    for liar in liars:
        lies = [[data.draw(lie) for _ in range(4)] for _ in range(2)]
        said[liar] = torch.tensor(lies, dtype=said.dtype)
    scores = build_rule(rule, agents)(said, range(agents))
    rounding = 1e-12  # of the mean of what is left
    assert bool((scores >= honest.min(dim=0).values - rounding).all())
    assert bool((scores <= honest.max(dim=0).values + rounding).all())


@pytest.mark.parametrize("rule", ["median", "trimmed-mean", "majority"])
@pytest.mark.parametrize("agents", [3, 4, 5, 9])
def test_tolerated_liars_don_t_turn_a_unanimous_decision(rule: str, agents: int) -> None:
    said = torch.full((agents, 1, 3), -8.0)
    said[:, :, 1] = -0.01
    for liar in range(tolerated(rule, agents)):  # type: ignore[arg-type]
        said[liar, 0] = torch.tensor([0.0, -1e9, -1e9])
    assert build_rule(rule, agents)(said, range(agents)).argmax() == 1


@pytest.mark.parametrize("rule", ["median", "majority"])
@pytest.mark.parametrize("agents", [3, 5, 9])
def test_one_more_turns_it(rule: str, agents: int) -> None:
    said = torch.full((agents, 1, 3), -8.0)
    said[:, :, 1] = -0.01
    for liar in range(tolerated(rule, agents) + 1):  # type: ignore[arg-type]
        said[liar, 0] = torch.tensor([0.0, -1e9, -1e9])
    assert build_rule(rule, agents)(said, range(agents)).argmax() == 0


@pytest.mark.parametrize("rule", ["mean-log-probability", "weighted"])
def test_rules_without_tolerance_are_turned_by_one_of_nine(rule: str) -> None:
    assert tolerated(rule, 9) == 0  # type: ignore[arg-type]
    said = torch.full((9, 1, 3), -8.0)
    said[:, :, 1] = -0.01
    said[4, 0] = torch.tensor([0.0, -1e9, -1e9])
    assert build_rule(rule, 9)(said, range(9)).argmax() == 0


def test_a_new_gate_is_the_mean_of_probabilities() -> None:
    said = _said(3)
    gate = LearnedGate(3).double()
    mean = said.exp().mean(dim=0).log()
    torch.testing.assert_close(gate(said, (0, 1, 2)), mean, **CLOSE)


def test_a_gate_learns_whom_to_believe() -> None:
    said, labels = _said(3, images=64), torch.arange(64) % 4
    said[1] = (6.0 * nn.functional.one_hot(labels, 4)).double().log_softmax(dim=1)
    gate = LearnedGate(3).double()
    optimizer = torch.optim.Adam(gate.parameters(), lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.nll_loss(gate(said, (0, 1, 2)), labels).backward()
        optimizer.step()
    weights = gate.log_gate(said, (0, 1, 2)).exp().detach()
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(64, dtype=torch.float64), **CLOSE)
    assert float(weights[1].mean()) > 0.8


def test_gates_are_alike_for_a_seed() -> None:
    first, again = LearnedGate(3, seed=4), LearnedGate(3, seed=4)
    assert torch.equal(first.network[0].weight, again.network[0].weight)
    assert not torch.equal(first.network[0].weight, LearnedGate(3, seed=5).network[0].weight)


@pytest.mark.parametrize("rule", RULES)
def test_the_catalogue_is_true(rule: str) -> None:
    entry = RULES[rule]  # type: ignore[index]
    module = build_rule(rule, 3)
    said = _said(3).float().requires_grad_()
    scores = module(said, (0, 1, 2))
    assert scores.shape == (5, 4)
    assert scores.requires_grad is entry.differentiable
    assert bool(list(module.parameters())) is entry.trained


@pytest.mark.parametrize("rule", ["vote", 7, None])
def test_an_unknown_rule(rule: object) -> None:
    with pytest.raises(InvalidInput, match="expected a rule of mean-log-probability"):
        build_rule(rule, 3)  # type: ignore[arg-type]


def test_tolerance_of_nothing() -> None:
    with pytest.raises(InvalidInput, match="expected a rule"):
        tolerated("vote", 3)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="at least one agent"):
        tolerated("median", 0)


@pytest.mark.parametrize("trim", [-1, True, 0.5])
def test_a_trim_that_is_none(trim: object) -> None:
    with pytest.raises(InvalidInput, match="expected trim"):
        TrimmedMean(trim)  # type: ignore[arg-type]
