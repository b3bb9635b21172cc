"""Episodes under attack against the exact worst case of a world that is known entirely."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from policy_worlds import LinearPolicy, Walk, bound, worst_return
from torch import nn

from fgmf.agents import MessagePassing
from fgmf.errors import AttackFailed, InvalidInput, NonFiniteOutput
from fgmf.policies import (
    DEFAULT_OBSERVATION_ATTACKS,
    CheckedEnvironment,
    Gridworld,
    PolicyPlan,
    PolicyThresholds,
    Step,
    judge_policy,
    measure_policy,
)
from fgmf.policies.joint import ActionLogits
from fgmf.policies.playing import Adversary, play
from fgmf.threat import ThreatModel
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from fgmf.policies.measuring import PolicyMeasurement
    from fgmf.policies.playing import Moment

SEEDS = range(40)
EPSILON = 0.02


def measured(
    module: nn.Module | None = None, world: Any = None, **options: Any
) -> PolicyMeasurement:
    policy, environment = bound(module or LinearPolicy(), world or Walk())
    settings: dict[str, Any] = {
        "threat": ThreatModel(norm="linf", epsilon=EPSILON),
        "attacks": DEFAULT_OBSERVATION_ATTACKS,
        "steps": 3,
    }
    plan = PolicyPlan(**{**settings, **options})
    return measure_policy(policy, environment, list(SEEDS), plan)


def test_in_one_step_the_worst_case_is_the_exact_one() -> None:
    """Both are sums of float64 rewards: the same numbers."""
    world, policy = Walk(horizon=1, return_range=(0.0, 1.0)), LinearPolicy()
    found = measured(policy, world, attacks=("worst-reachable-action",)).worst_returns
    exact = torch.tensor([worst_return(world, policy, s, EPSILON) for s in SEEDS])
    assert found.tolist() == pytest.approx(exact.tolist())
    clean = measured(policy, world).clean.returns
    assert (exact < clean - 1e-9).sum() > 3  # the attack has something to do


def test_over_several_steps_no_attack_is_below_the_exact_worst_case() -> None:
    world, policy = Walk(), LinearPolicy()
    measurement = measured(policy, world)
    exact = torch.tensor([worst_return(world, policy, s, EPSILON) for s in SEEDS])
    found = measurement.worst_returns
    assert (found >= exact - 1e-6).all()
    greedy = measurement.attacked["worst-reachable-action"].returns
    assert greedy.mean() < measurement.clean.returns.mean() - 0.02
    # Greedy looks one change ahead: most episodes end where the exact adversary's do.
    assert (found - exact < 1e-6).float().mean() > 0.6


def test_nothing_changes_without_a_budget() -> None:
    measurement = measured(threat=ThreatModel(norm="linf", epsilon=0.0))
    for episodes in measurement.attacked.values():
        assert torch.equal(episodes.returns, measurement.clean.returns)
        assert int(episodes.changed.sum()) == 0


def test_more_budget_leaves_no_more_return() -> None:
    means = [
        float(measured(threat=ThreatModel(norm="linf", epsilon=e)).worst_returns.mean())
        for e in (0.0, 0.02, 0.3)
    ]
    assert means[0] > means[1] > means[2]


def test_the_seed_fixes_everything_but_time() -> None:
    first, again = measured(restarts=2), measured(restarts=2)
    assert torch.equal(first.worst_returns, again.worst_returns)
    assert first.cost.forward_passes == again.cost.forward_passes > 0


def test_passes_are_counted() -> None:
    """Two clean plays; the flip: 3 + 2 forwards and 3 backwards at each of 3 steps."""
    measurement = measured(attacks=("action-flip",))
    steps = 3 * len(SEEDS)
    assert measurement.cost.forward_passes == steps * (2 + 1 + 3 + 1 + 1)
    assert measurement.cost.backward_passes == steps * 3


class TwoViews(nn.Module):
    """Two agents of which each sees one channel and acts on its sign."""

    def agent_logits(self, seen: torch.Tensor) -> torch.Tensor:
        lead = seen.flatten(2).mean(dim=2).T - 0.5
        return torch.stack([lead, -lead], dim=2)

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        return self.agent_logits(seen).mean(dim=0)


@pytest.mark.parametrize("name", DEFAULT_OBSERVATION_ATTACKS)
def test_each_agent_of_a_team_acts_on_its_own_view(name: Any) -> None:
    """It pays to agree: worst is to mislead exactly one of the two."""

    class Agree(Walk):
        def observe(self, states: torch.Tensor) -> torch.Tensor:
            return torch.full((len(states), 2, 2, 2), 0.55)

        def step(self, states: torch.Tensor, actions: torch.Tensor) -> Step:
            following = states.clone()
            following[:, 1] += 1
            rewards = (actions[:, 0] == actions[:, 1]).double()
            return Step(following, rewards, following[:, 1] >= self.horizon)

    world = Agree(agent_count=2)
    plan = {"attacks": (name,), "threat": ThreatModel(norm="linf", epsilon=0.1)}
    measurement = measured(TwoViews(), world, **plan)
    assert measurement.clean.returns.tolist() == [3.0] * len(SEEDS)
    expected = 0.0 if name == "worst-reachable-action" else 3.0
    assert measurement.attacked[name].returns.tolist() == [expected] * len(SEEDS)
    assert int(measurement.attacked[name].changed.min()) > 0


def test_agents_that_pass_messages_act_on_what_they_heard() -> None:
    passing = MessagePassing(2, 2)
    with torch.no_grad():
        passing.decode.normal_(generator=torch.Generator().manual_seed(0))
        passing.decode.mul_(20)
    talking = TwoViews()
    talking.messages = passing
    seen = torch.rand(20, 2, 2, 2, generator=torch.Generator().manual_seed(1))
    heard = passing(talking.agent_logits(seen)).transpose(0, 1).flatten(1)
    assert torch.equal(ActionLogits(talking)(seen), heard)
    silent = ActionLogits(TwoViews())(seen)
    rows = [each.reshape(20, 2, 2).argmax(dim=2) for each in (heard, silent)]
    assert not torch.equal(*rows)


def test_an_attack_that_helps_is_not_counted() -> None:
    """An episode counts with the least of its returns, that without an attack among them."""
    measurement = measured(attacks=("action-flip",))
    (flip,) = measurement.attacked.values()
    helped = replace(flip, returns=flip.returns + 1, succeeded=torch.ones_like(flip.succeeded))
    other = replace(measurement, attacked={"action-flip": helped})
    least = torch.minimum(measurement.clean.returns, helped.returns)
    assert torch.equal(other.worst_returns, least)
    assert bool((helped.returns > measurement.clean.returns).any())
    assert torch.equal(other.always_succeeded, measurement.clean.succeeded)


def test_spent_time_is_no_evidence() -> None:
    measurement = measured(deadline=time.monotonic() - 1)
    assert not measurement.complete
    assert measurement.attacked == {}

    def outcome(threshold: float) -> Outcome:
        asked = PolicyThresholds(return_under_attack=threshold, return_range=(0.0, 3.0))
        return judge_policy(measurement, asked)[0].outcome

    assert outcome(0.1) is Outcome.INCONCLUSIVE
    assert outcome(2.9) is Outcome.FAIL  # not even the undisturbed episodes reach it


def test_judgement_is_in_the_units_of_the_environment() -> None:
    measurement = measured()
    mean = float(measurement.worst_returns.mean())
    asked = PolicyThresholds(
        return_under_attack=mean, clean_return=0.0, success_rate=1.0, return_range=(0.0, 3.0)
    )
    under, success, clean = judge_policy(measurement, asked)
    assert under.measured == mean
    assert under.interval is not None
    assert 0 <= under.interval.lower < mean < under.interval.upper <= 3
    assert under.outcome is Outcome.INCONCLUSIVE
    assert success.outcome is Outcome.FAIL
    assert clean.outcome is Outcome.PASS


class Wrong(Walk):
    """A world that breaks one promise."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what, self.calls = what, 0

    def reset(self, seeds: Any) -> torch.Tensor:
        self.calls += 1
        states = super().reset(seeds)
        if self.what == "drawn":
            states[:, 0] += self.calls
        return states[1:] if self.what == "rows" else states

    def observe(self, states: torch.Tensor) -> torch.Tensor:
        if self.what == "raises":
            raise RuntimeError("no light")
        seen = super().observe(states)
        return seen + 1 if self.what == "bounds" else seen

    def succeeded(self, states: torch.Tensor) -> torch.Tensor:
        found = super().succeeded(states)
        return torch.stack([found, found], dim=1) if self.what == "twice" else found

    def step(self, states: torch.Tensor, actions: torch.Tensor) -> Any:
        following, rewards, done = super().step(states, actions)
        if self.what == "moody":
            self.calls += 1
            rewards = rewards * (1 - 0.01 * self.calls)
        if self.what == "nan":
            rewards = rewards * torch.nan
        if self.what == "range":
            rewards = rewards + 5
        if self.what == "endless":
            done = torch.zeros_like(done)
        return (following, rewards) if self.what == "two" else (following, rewards, done)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("drawn", "the same states for the same seeds"),
        ("rows", "a tensor with 40 rows from reset, got"),
        ("raises", "observe to answer, got RuntimeError: no light"),
        ("bounds", "within the bounds"),
        ("moody", "the same episodes from the same seeds"),
        ("nan", "finite rewards"),
        ("range", "within return_range"),
        ("endless", "every episode over after 3 steps"),
        ("two", "states, rewards and done"),
        ("twice", "of succeeded, got"),
    ],
)
def test_a_world_that_breaks_its_word_is_refused(what: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        measured(world=Wrong(what))


@pytest.mark.parametrize(
    ("world", "words"),
    [
        (object(), "expected an environment with agent_count"),
        (Walk(horizon=0), "got horizon = 0"),
        (Walk(agent_count=True), "got agent_count = True"),
        (Walk(return_range=(1.0, 1.0)), "the lower one first"),
    ],
)
def test_what_is_no_environment_is_refused(world: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        CheckedEnvironment(world=world, bounds=(0, 1))


def test_a_policy_of_another_size_or_without_numbers_is_refused() -> None:
    with pytest.raises(InvalidInput, match="2 agents with 2 actions each, got 2 logits"):
        measured(world=Walk(agent_count=2))

    class Nan(LinearPolicy):
        def forward(self, seen: torch.Tensor) -> torch.Tensor:
            return super().forward(seen) * torch.nan

    with pytest.raises(NonFiniteOutput):
        measured(Nan())


def test_an_adversary_outside_its_ball_is_caught() -> None:
    class Cheat:
        def disturb(self, moment: Moment) -> torch.Tensor:
            return (moment.observations + 0.2).clamp(max=1)

    policy, environment = bound(LinearPolicy(), Walk())
    threat = ThreatModel(norm="linf", epsilon=0.1)
    with pytest.raises(AttackFailed, match="inside ball and box"), policy.classifier.guard():
        play(policy, environment, [1, 2], adversary=Adversary(attack=Cheat(), threat=threat))


def test_no_episode_is_no_evidence() -> None:
    policy, environment = bound(LinearPolicy(), Walk())
    plan = PolicyPlan(threat=ThreatModel(norm="linf", epsilon=0.1), attacks=("action-flip",))
    with pytest.raises(InvalidInput, match="at least one episode"):
        measure_policy(policy, environment, [], plan)


def test_the_gridworld_is_an_environment() -> None:
    environment = CheckedEnvironment(world=Gridworld(), bounds=(0.0, 1.0))
    assert environment.observe(environment.reset([1, 2])).shape == (2, 8, 3, 3)
