"""The return of a team under attack: every episode under every attack, the worst case of each.

    clean = play(seeds);  once more: a policy or a world that answers otherwise is no subject
    for each attack:  returns = play(seeds, adversary)
    worst case of an episode = the least of its returns, the clean one among them

World and policy are functions of the seed, so an adversary who knows it can choose the attack that
is worst for the very episode: the worst case is one that can be had.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from fgmf.errors import BudgetSpent, InvalidInput
from fgmf.policies.observing import Ascent, observation_attack
from fgmf.policies.playing import Adversary, Episodes, play

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fgmf.policies.catalogue import ObservationAttackName
    from fgmf.policies.environment import CheckedEnvironment
    from fgmf.policies.joint import JointPolicy
    from fgmf.threat import ThreatModel
    from fgmf.verdict import Cost


@dataclass(frozen=True, kw_only=True)
class PolicyPlan:
    """The question.

    Attributes:
        threat: Ball and box of each observation.
        attacks: Names, in the order in which they run.
        steps: Gradient steps at each step of an episode.
        restarts: Lanes of each attack.
        seed: Fixes every draw.
        deadline: Value of ``time.monotonic()`` after which measuring stops; None never.
        on_progress: Called with the episodes done and in all, and the attack.
    """

    threat: ThreatModel
    attacks: tuple[ObservationAttackName, ...]
    steps: int = 10
    restarts: int = 1
    seed: int = 0
    deadline: float | None = None
    on_progress: Callable[[int, int, str], None] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class PolicyMeasurement:
    """The answer, episode by episode.

    Attributes:
        seeds: Of the episodes.
        clean: Without an adversary.
        attacked: By attack; those that time ran out for are missing.
        complete: Every attack was carried out on every episode.
        cost: Passes and seconds.
    """

    seeds: tuple[int, ...]
    clean: Episodes
    attacked: dict[str, Episodes]
    complete: bool
    cost: Cost

    @property
    def worst_returns(self) -> torch.Tensor:
        """(n,) the least return of each episode; an upper bound where `complete` is False."""
        rows = [self.clean.returns, *(one.returns for one in self.attacked.values())]
        return torch.stack(rows).amin(dim=0)

    @property
    def always_succeeded(self) -> torch.Tensor:
        """(n,) True where no attack kept the team from its task; likewise an upper bound."""
        rows = [self.clean.succeeded, *(one.succeeded for one in self.attacked.values())]
        return torch.stack(rows).all(dim=0)


def measure_policy(
    policy: JointPolicy,
    environment: CheckedEnvironment,
    seeds: Sequence[int],
    plan: PolicyPlan,
) -> PolicyMeasurement:
    """Play every episode without an adversary and under each attack.

    Args:
        policy: Put back as it was afterwards.
        environment: The world.
        seeds: One per episode, at least one.
        plan: Threat, attacks, seed, deadline.

    Returns:
        Returns by episode and attack, and cost.

    Raises:
        InvalidInput: No episodes or attacks; an environment that breaks its word; a world or a
            policy that is not the same at the second look.
        NonFiniteOutput: The policy answered NaN or infinity.
        AttackFailed: An attack left its ball or box.
        ModelStateChanged: A pass changed the policy; it is put back.

    Cost: two clean plays, and each attack's.
    Randomness: fixed by the seed, the attack, and the seed of each episode.
    """
    if not seeds or not plan.attacks:
        message = "expected at least one episode and one attack"
        raise InvalidInput(f"{message}, got {len(seeds)} and {len(plan.attacks)}")
    started = time.perf_counter()
    meter = policy.classifier.cost_meter
    before = meter.reading()
    attacked: dict[str, Episodes] = {}
    with policy.classifier.guard(seed=plan.seed):
        clean = play(policy, environment, seeds)
        _refuse_moving(clean, play(policy, environment, seeds))
        try:
            for number, name in enumerate(plan.attacks):
                attacked[name] = _attacked(policy, environment, seeds, plan, number)
        except BudgetSpent:
            pass  # what is missing says so
    cost = meter.since(before, seconds=time.perf_counter() - started)
    return PolicyMeasurement(
        seeds=tuple(seeds),
        clean=clean,
        attacked=attacked,
        complete=len(attacked) == len(plan.attacks),
        cost=cost,
    )


def _attacked(
    policy: JointPolicy,
    environment: CheckedEnvironment,
    seeds: Sequence[int],
    plan: PolicyPlan,
    number: int,
) -> Episodes:
    name = plan.attacks[number]
    ascent = Ascent(threat=plan.threat, steps=plan.steps, restarts=plan.restarts, seed=plan.seed)
    adversary = Adversary(
        attack=observation_attack(name, policy, environment, ascent), threat=plan.threat
    )

    def report(done: int) -> None:
        if plan.on_progress is not None:
            total = len(seeds) * len(plan.attacks)
            plan.on_progress(number * len(seeds) + done, total, name)

    return play(
        policy, environment, seeds, adversary=adversary, deadline=plan.deadline, on_step=report
    )


def _refuse_moving(first: Episodes, second: Episodes) -> None:
    same = torch.equal(first.returns, second.returns) and torch.equal(first.lengths, second.lengths)
    if not same:
        count = int((first.returns != second.returns).sum())
        message = "expected the same episodes from the same seeds, got other returns in "
        message += f"{count} of {len(first.returns)}; a random policy or world cannot be judged by "
        raise InvalidInput(f"{message}its worst case: take the likeliest action, draw from seeds")
