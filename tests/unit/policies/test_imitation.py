"""Imitation: a team learns what the planner does, the seed fixes how, hardening hardens."""

from __future__ import annotations

import torch
from policy_worlds import bound
from torch import nn

from fgmf.agents import Agent, Team, View
from fgmf.policies import (
    Gridworld,
    ImitationPlan,
    JointPlanner,
    PolicyPlan,
    imitate,
    measure_policy,
)
from fgmf.threat import ThreatModel

WORLD = Gridworld(layout=("...", "..."), agent_count=1, horizon=6)


def team(seed: int = 0) -> Team:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Sequential(nn.Flatten(), nn.Linear(24, 64), nn.ReLU(), nn.Linear(64, 5))
    return Team([Agent("one", layers, view=View(channels=(0, 1, 2, 3)))])


def taught(**options: object) -> Team:
    made = team()
    plan = ImitationPlan(**{"rounds": 3, "episodes": 40, "epochs": 30, "batch_size": 32, **options})  # type: ignore[arg-type]
    imitate(made, WORLD, JointPlanner(WORLD), plan)
    return made


def returns(made: Team, epsilon: float) -> tuple[float, float]:
    policy, environment = bound(made, WORLD)
    plan = PolicyPlan(
        threat=ThreatModel(norm="linf", epsilon=epsilon), attacks=("worst-reachable-action",)
    )
    measurement = measure_policy(policy, environment, range(1000, 1060), plan)
    return float(measurement.clean.returns.mean()), float(measurement.worst_returns.mean())


def test_a_team_learns_and_a_hardened_one_keeps_more_under_attack() -> None:
    planner = JointPlanner(WORLD)
    states = WORLD.reset(range(1000, 1060))
    best = float((1 - (planner.distance(states) - 1) / WORLD.horizon).mean())
    plain_clean, plain_worst = returns(taught(), 0.15)
    hard_clean, hard_worst = returns(taught(epsilon=0.2), 0.15)
    assert plain_clean > best - 0.05
    assert hard_clean > best - 0.2
    assert hard_worst > plain_worst + 0.08
    assert returns(team(), 0.3)[0] < best - 0.3  # untrained: there was something to learn


def test_a_seed_fixes_what_is_learned_and_leaves_the_generator() -> None:
    before = torch.get_rng_state()
    first, again, other = (taught(epsilon=0.1, epochs=2, seed=s) for s in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    same = zip(first.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    assert not torch.equal(next(first.parameters()), next(other.parameters()))
    assert not first.training
