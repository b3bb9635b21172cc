"""Playing episodes, many at once, with an adversary between the world and the agents or without.

states = reset(seeds)
repeat, for the episodes that are not over:
    seen    = observe(states);  shown = adversary(seen), brought back into ball and box
    actions = the likeliest of each agent, on what it is shown
    states, rewards, done = step(states, actions)
return of an episode = sum of its rewards
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from fgmf.attacks.projection import inside
from fgmf.errors import AttackFailed, BudgetSpent, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fgmf.policies.environment import CheckedEnvironment, Step
    from fgmf.policies.joint import JointPolicy
    from fgmf.policies.observing import ObservationAttack
    from fgmf.threat import ThreatModel
    from fgmf.types import Images


@dataclass(frozen=True, kw_only=True, eq=False)
class Moment:
    """Where the running episodes stand.

    Attributes:
        states: (n, ...) of the world.
        observations: (n, c, h, w) what there is to see.
        logits: (n, agents, actions) of the policy on them.
        step: How many steps were taken.
        keys: One stable name per episode.
    """

    states: torch.Tensor
    observations: Images
    logits: torch.Tensor
    step: int
    keys: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Adversary:
    """Who stands between the world and the agents.

    Attributes:
        attack: Shows agents something else.
        threat: What it may do to each observation; held against what it did.
    """

    attack: ObservationAttack
    threat: ThreatModel

    def shown(self, moment: Moment) -> Images:
        """What agents are shown.

        Raises:
            AttackFailed: Something outside of ball or box.
        """
        shown = self.attack.disturb(moment)
        allowed = inside(moment.observations, shown, self.threat)
        if not bool(allowed.all()):
            raise AttackFailed("expected disturbed observations inside ball and box, got others")
        return shown


@dataclass(frozen=True, kw_only=True, eq=False)
class Episodes:
    """What came of episodes.

    Attributes:
        returns: (n,) float64 sums of rewards.
        succeeded: (n,) True where the task was done in the end.
        lengths: (n,) steps.
        changed: (n,) decisions of agents that the adversary changed.
        decisions: (n,) all decisions of agents.
    """

    returns: torch.Tensor
    succeeded: torch.Tensor
    lengths: torch.Tensor
    changed: torch.Tensor
    decisions: torch.Tensor


def play(
    policy: JointPolicy,
    environment: CheckedEnvironment,
    seeds: Sequence[int],
    *,
    adversary: Adversary | None = None,
    deadline: float | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Episodes:
    """Play one episode for each seed.

    Args:
        policy: Inside its guard.
        environment: The world.
        seeds: One per episode.
        adversary: None shows agents what there is.
        deadline: Value of ``time.monotonic()`` after which nothing more is played.
        on_step: Called with the number of episodes that are over.

    Returns:
        Returns and counts by episode.

    Raises:
        InvalidInput: The environment breaks its word: an episode that is not over at the horizon,
            or a return outside of its range.
        BudgetSpent: The deadline passed.

    Cost: one forward per step of each episode, two and the attack's with an adversary.
    """
    states = environment.reset(seeds)
    count = len(states)
    result = Episodes(
        returns=torch.zeros(count, dtype=torch.float64),
        succeeded=torch.zeros(count, dtype=torch.bool),
        lengths=torch.zeros(count, dtype=torch.int64),
        changed=torch.zeros(count, dtype=torch.int64),
        decisions=torch.zeros(count, dtype=torch.int64),
    )
    running = torch.arange(count)
    for number in range(environment.world.horizon):
        if deadline is not None and time.monotonic() >= deadline:
            raise BudgetSpent("expected all episodes to end within the gate's max_seconds")
        moment = _look(policy, environment, states, number, [str(seeds[at]) for at in running])
        chosen = moment.logits.argmax(dim=2)
        actions = chosen
        if adversary is not None:
            actions = policy.decided(adversary.shown(moment)).argmax(dim=2)
        result.changed[running] += (actions != chosen).sum(dim=1)
        result.decisions[running] += policy.agent_count
        states, rewards, done = environment.step(states, actions)
        result.returns[running] += rewards
        result.lengths[running] += 1
        result.succeeded[running[done]] = environment.succeeded(states)[done]
        states, running = states[~done], running[~done]
        if on_step is not None:
            on_step(count - len(running))
        if not len(running):
            break
    _hold_to_its_word(environment, len(running), result.returns)
    return result


def play_on(
    policy: JointPolicy, environment: CheckedEnvironment, first: Step, *, most_steps: int
) -> torch.Tensor:
    """Play episodes to their end without an adversary.

    Args:
        policy: Inside its guard.
        environment: The world.
        first: The step that they come from; those that are done earn nothing more.
        most_steps: Steps that are left.

    Returns:
        (n,) float64, what they still earn.

    Cost: one forward per step and distinct running episode.
    """
    later = torch.zeros(len(first.done), dtype=torch.float64)
    states, running = first.states[~first.done], (~first.done).nonzero().flatten()
    for _ in range(most_steps):
        if not len(running):
            break
        # Many joint actions lead to the same state: it is played on once.
        distinct, of = states.unique(dim=0, return_inverse=True)
        actions = policy.decided(environment.observe(distinct)).argmax(dim=2)
        states, rewards, done = environment.step(states, actions[of])
        later[running] += rewards
        states, running = states[~done], running[~done]
    return later


def _look(
    policy: JointPolicy,
    environment: CheckedEnvironment,
    states: torch.Tensor,
    number: int,
    keys: Sequence[str],
) -> Moment:
    seen = environment.observe(states)
    return Moment(
        states=states,
        observations=seen,
        logits=policy.decided(seen),
        step=number,
        keys=tuple(keys),
    )


def _hold_to_its_word(environment: CheckedEnvironment, running: int, returns: torch.Tensor) -> None:
    if running:
        message = f"expected every episode over after {environment.world.horizon} steps"
        raise InvalidInput(f"{message} (horizon), got {running} that go on")
    lowest, highest = environment.return_range
    slack = 1e-6 * (highest - lowest)
    least, most = float(returns.min()), float(returns.max())
    if least < lowest - slack or most > highest + slack:
        message = f"expected returns within return_range [{lowest:g}, {highest:g}]"
        raise InvalidInput(f"{message}, got [{least:g}, {most:g}]: intervals rest on it")
