"""Attacks on observations: projected gradient ascent on what agents are made to do.

    ascend:  x = observation, in lanes from the observation itself and from random points
             repeat: x = project(x + step * sign(gradient of sum over agents of min(margin, cap)))
             keep, for each episode, the point with most agents misled, then the largest margin

    action flip:             margin = best other action - the action chosen without an attack
    least likely action:     margin = that action - best other action
    worst reachable action:  targets = each action, for all agents; what agents then do is reachable
                             value   = return of every reachable joint action, played on to the end
                                       by the policy without an attack
                             aim at the joint action of least value, and take, of all points that
                             were found, the one after which the team earns least

Source: Huang et al. 2017 ("Adversarial attacks on neural network policies") for the first; Lin et
al. 2017 ("Tactics of adversarial attack on deep reinforcement learning agents") for the second;
the third is a greedy form of the optimal adversary of Zhang et al. 2020 ("Robust deep RL against
adversarial perturbations on state observations"), with returns of simulated episodes as values.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import torch

from fgmf.attacks.projection import project
from fgmf.errors import GradientUnavailable
from fgmf.policies.playing import play_on
from fgmf.seeding import image_generator

if TYPE_CHECKING:
    from fgmf.policies.catalogue import ObservationAttackName
    from fgmf.policies.environment import CheckedEnvironment
    from fgmf.policies.joint import JointPolicy
    from fgmf.policies.playing import Moment
    from fgmf.threat import ThreatModel
    from fgmf.types import Images

_CAP: Final = 0.1
"""Share of the spread of logits past which a misled agent is not pushed any further."""
_MOST_JOINT: Final = 64
"""So many joint actions are all valued; of more, those that were reached together."""


@dataclass(frozen=True, kw_only=True)
class Ascent:
    """How gradients are followed.

    Attributes:
        threat: Ball and box of each observation.
        steps: Gradient steps.
        restarts: Lanes: the first starts at the observation, others at random points.
        seed: With the key of the episode and the step it fixes the starts.
    """

    threat: ThreatModel
    steps: int
    restarts: int
    seed: int


class ObservationAttack(Protocol):
    """Shows agents something else than there is."""

    def disturb(self, moment: Moment) -> Images:
        """Return (n, c, h, w) observations inside ball and box."""
        ...


def observation_attack(
    name: ObservationAttackName,
    policy: JointPolicy,
    environment: CheckedEnvironment,
    ascent: Ascent,
) -> ObservationAttack:
    """Return an attack by its name."""
    if name == "worst-reachable-action":
        return WorstReachable(policy, environment, ascent)
    return Mislead(policy, ascent, least_likely=name == "least-likely-action")


class Mislead:
    """Every agent away from its action, or towards its least likely one.

    Args:
        policy: The team.
        ascent: Ball, steps, lanes.
        least_likely: Towards its least likely action; False: to any other than it would choose.
    """

    def __init__(self, policy: JointPolicy, ascent: Ascent, *, least_likely: bool) -> None:
        self._policy, self._ascent, self._least_likely = policy, ascent, least_likely

    def disturb(self, moment: Moment) -> Images:
        """Ascend.

        Cost: restarts x (steps forward and backward passes and one forward) per observation.
        Randomness: fixed by the seed, the episode's key and the step.
        """
        if self._least_likely:
            goal = Goal(actions=moment.logits.argmin(dim=2), towards=True)
        else:
            goal = Goal(actions=moment.logits.argmax(dim=2), towards=False)
        return ascend(self._policy, moment, goal, self._ascent)


class WorstReachable:
    """The team to the reachable joint action after which it earns least.

    Args:
        policy: The team.
        environment: Played on from each joint action.
        ascent: Ball, steps, lanes.
    """

    def __init__(
        self, policy: JointPolicy, environment: CheckedEnvironment, ascent: Ascent
    ) -> None:
        self._policy, self._environment, self._ascent = policy, environment, ascent
        numbers = range(policy.action_count)
        self._many = policy.action_count**policy.agent_count > _MOST_JOINT
        joint = [] if self._many else list(product(numbers, repeat=policy.agent_count))
        self._joint = torch.tensor(joint)

    def disturb(self, moment: Moment) -> Images:
        """Find what can be reached, value it, aim at the worst.

        Cost: (actions + 1) ascents, and one forward for each step of each episode that is played
            on: at most `_MOST_JOINT` + actions + 1 episodes to their end per observation.
        Randomness: as for :class:`Mislead`.
        """
        points, acted = [moment.observations], [moment.logits.argmax(dim=2)]
        for action in range(self._policy.action_count):
            target = torch.full_like(acted[0], action)
            self._add(moment, target, points, acted)
        if not self._many:
            self._add(moment, self._worst_of(moment, acted), points, acted)
        values = self._values(moment, torch.stack(acted, dim=1))
        best = values.argmin(dim=1)
        return torch.stack(points, dim=1)[torch.arange(len(best)), best]

    def _add(
        self,
        moment: Moment,
        target: torch.Tensor,
        points: list[Images],
        acted: list[torch.Tensor],
    ) -> None:
        goal = Goal(actions=target, towards=True)
        found = ascend(self._policy, moment, goal, self._ascent)
        points.append(found)
        acted.append(self._policy.decided(found).argmax(dim=2))

    def _worst_of(self, moment: Moment, acted: list[torch.Tensor]) -> torch.Tensor:
        """The joint action of least value among those whose parts agents were seen to take."""
        seen = torch.stack(acted, dim=1)
        actions = torch.arange(self._policy.action_count)
        reached = (seen[..., None] == actions).any(dim=1)
        agents = torch.arange(self._policy.agent_count)
        possible = reached[:, agents, self._joint].all(dim=2)
        values = self._values(moment, self._joint.expand(len(seen), -1, -1))
        return self._joint[torch.where(possible, values, torch.inf).argmin(dim=1)]

    def _values(self, moment: Moment, actions: torch.Tensor) -> torch.Tensor:
        """Returns from here on: (n, m) for (n, m, agents) joint actions."""
        n, m = actions.shape[:2]
        states = moment.states.repeat_interleave(m, dim=0)
        first = self._environment.step(states, actions.reshape(n * m, -1))
        left = self._environment.world.horizon - moment.step - 1
        later = play_on(self._policy, self._environment, first, most_steps=left)
        return (first.rewards + later).reshape(n, m)


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What agents are to do: these actions, or anything else.

    Attributes:
        actions: (n, agents).
        towards: True: take them; False: take another.
    """

    actions: torch.Tensor
    towards: bool

    def margins(self, logits: torch.Tensor, rows: slice = slice(None)) -> torch.Tensor:
        """(n, agents) above 0 where an agent does as it is meant to, from logits of `rows`."""
        at = self.actions[rows].to(logits.device)[..., None]
        own = logits.gather(2, at)[..., 0]
        others = logits.scatter(2, at, -torch.inf).amax(dim=2)
        return own - others if self.towards else others - own


def ascend(policy: JointPolicy, moment: Moment, goal: Goal, ascent: Ascent) -> Images:
    """Follow gradients to where the margins of all agents are largest.

    Args:
        policy: The team.
        moment: What it sees now.
        goal: What its agents are to do.
        ascent: Ball, steps, lanes.

    Returns:
        (n, c, h, w) inside ball and box; the observation itself where nothing was better.
    """
    clean = moment.observations
    cap = _CAP * float((moment.logits.amax(dim=2) - moment.logits.amin(dim=2)).median())
    best, best_margin = clean.clone(), goal.margins(moment.logits)
    for lane in range(ascent.restarts):
        points = clean if lane == 0 else _random_points(moment, lane, ascent)
        for step in range(ascent.steps):
            gradient, margin = _slope(policy, points, goal, cap=cap)
            _keep(best, best_margin, points, margin)
            size = 2.0 * ascent.threat.epsilon * (1.0 - step / ascent.steps)
            points = project(clean, points + size * gradient.sign(), ascent.threat)
        _keep(best, best_margin, points, goal.margins(policy.decided(points)))
    return best


def _slope(
    policy: JointPolicy, points: Images, goal: Goal, *, cap: float
) -> tuple[Images, torch.Tensor]:
    """The gradient of the capped margins at some points, and the margins."""
    gradients, margins = [], []
    size = policy.classifier.batch_size
    for start in range(0, len(points), size):
        rows = slice(start, start + size)
        inputs = points[rows].detach().clone().requires_grad_()
        margin = goal.margins(policy.logits(inputs), rows)
        if not margin.requires_grad:
            message = "expected action logits with a gradient in what is observed, got none"
            raise GradientUnavailable(f"{message}; don't detach observations")
        (gradient,) = torch.autograd.grad(margin.clamp(max=cap).sum(), inputs)
        gradients.append(gradient.detach().cpu())
        margins.append(margin.detach().cpu())
    return torch.cat(gradients), torch.cat(margins)


def _keep(best: Images, best_margin: torch.Tensor, points: Images, margin: torch.Tensor) -> None:
    """Take points that mislead more agents, or as many by more."""
    misled, before = (margin > 0).sum(dim=1), (best_margin > 0).sum(dim=1)
    further = (misled == before) & (margin.sum(dim=1) > best_margin.sum(dim=1))
    better = (misled > before) | further
    best[better], best_margin[better] = points[better], margin[better]


def _random_points(moment: Moment, lane: int, ascent: Ascent) -> Images:
    shape = moment.observations.shape[1:]
    noise = [
        image_generator(ascent.seed, "start", key, moment.step, lane).uniform(-1.0, 1.0, shape)
        for key in moment.keys
    ]
    moved = torch.from_numpy(np.stack(noise)).to(moment.observations)
    return project(
        moment.observations, moment.observations + ascent.threat.epsilon * moved, ascent.threat
    )
