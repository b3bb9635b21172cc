"""Worlds and policies for tests, small enough to know everything about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from tiny_models import classify
from torch import nn

from fgmf.policies import CheckedEnvironment, Step, joint_policy
from fgmf.seeding import image_generator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.policies import JointPolicy


@dataclass
class Walk:
    """One agent, two actions; each step pays what the state says of the action taken.

    States are (seed, step, what was done so far as a binary number); they look like noise, away
    from the bounds.
    """

    horizon: int = 3
    agent_count: int = 1
    action_count: int = 2
    return_range: tuple[float, float] = (0.0, 3.0)
    side: int = 4

    def reset(self, seeds: Sequence[int]) -> torch.Tensor:
        return torch.tensor([[seed % 1000, 0, 1] for seed in seeds])

    def observe(self, states: torch.Tensor) -> torch.Tensor:
        shape = (1, self.side, self.side)
        drawn = [
            image_generator(int(seed), "seen", int(step), int(done)).uniform(0.3, 0.7, shape)
            for seed, step, done in states
        ]
        return torch.from_numpy(np.stack(drawn)).float()

    def step(self, states: torch.Tensor, actions: torch.Tensor) -> Step:
        pays = [
            image_generator(int(seed), "pays", int(step), int(done)).random(2)
            for seed, step, done in states
        ]
        rewards = torch.from_numpy(np.stack(pays)).gather(1, actions)[:, 0]
        following = states.clone()
        following[:, 1] += 1
        following[:, 2] = 2 * states[:, 2] + actions[:, 0]
        return Step(following, rewards, following[:, 1] >= self.horizon)

    def succeeded(self, states: torch.Tensor) -> torch.Tensor:
        return states[:, 2] % 2 == 0


class LinearPolicy(nn.Module):
    """Two linear logits of what is seen."""

    def __init__(self, side: int = 4) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(2, side * side, generator=generator))
        self.bias = nn.Parameter(-0.5 * self.weight.detach().sum(dim=1))

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        return (seen.flatten(1)[:, None] * self.weight).sum(dim=2) + self.bias


def reachable(policy: LinearPolicy, seen: torch.Tensor, epsilon: float) -> list[int]:
    """Which actions a linear policy can be made to take, in closed form (no bound is met)."""
    logits = policy(seen[None])[0].detach()
    reach = epsilon * float((policy.weight[0] - policy.weight[1]).detach().abs().sum())
    lead = float(logits[0] - logits[1])
    return [action for action, ahead in ((0, lead), (1, -lead)) if ahead + reach > 1e-5]


def worst_return(world: Walk, policy: LinearPolicy, seed: int, epsilon: float) -> float:
    """The least return that any adversary can bring about: every reachable path is gone."""

    def least(state: torch.Tensor) -> float:
        found = []
        for action in reachable(policy, world.observe(state)[0], epsilon):
            following, reward, done = world.step(state, torch.tensor([[action]]))
            later = 0.0 if bool(done) else least(following)
            found.append(float(reward) + later)
        return min(found)

    return least(world.reset([seed]))


def bound(module: nn.Module, world: object) -> tuple[JointPolicy, CheckedEnvironment]:
    """A policy and a checked world that belong together."""
    environment = CheckedEnvironment(world=world, bounds=(0.0, 1.0))  # type: ignore[arg-type]
    policy = joint_policy(
        classify(module),
        agent_count=environment.world.agent_count,
        action_count=environment.world.action_count,
    )
    return policy, environment
