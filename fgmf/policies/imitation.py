"""Teaching a team to act: imitation of a planner where the team itself goes (DAgger).

    data = nothing
    for each round:
        play episodes: with the planner in the first round, else as the team acts by now
        data += (what was seen, what the planner would have done there)
        train every agent on all data: cross-entropy on the planner's action of this agent
            hardened: on observations that projected gradient ascent has moved within a ball, which
            grows from nothing in the first round to its full radius in the middle one

Source: Ross, Gordon and Bagnell 2011 ("A reduction of imitation learning and structured prediction
to no-regret online learning"); the hardened form is adversarial training (Madry et al. 2018) on
observations. Deviation: the planner acts in the first round alone, no mixture afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch.nn.functional import cross_entropy

from fgmf.policies.joint import ActionLogits
from fgmf.seeding import derive_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from fgmf.policies.environment import Environment
    from fgmf.types import Images


class Planner(Protocol):
    """Knows what to do."""

    def actions(self, states: torch.Tensor) -> torch.Tensor:
        """Return a good joint action for each state: (n, agents) int64."""
        ...


@dataclass(frozen=True, kw_only=True)
class ImitationPlan:
    """How much is taught.

    Attributes:
        rounds: Of playing and training.
        episodes: Played in each round.
        epochs: Passes over all data in each round.
        batch_size: Observations per update.
        learning_rate: Of Adam, falling to 0 within each round.
        epsilon: Radius of the Linf ball that observations are moved in; 0 leaves them.
        attack_steps: Of the ascent.
        seed: Fixes episodes, order and starts.
    """

    rounds: int = 5
    episodes: int = 400
    epochs: int = 6
    batch_size: int = 256
    learning_rate: float = 2e-3
    epsilon: float = 0.0
    attack_steps: int = 3
    seed: int = 0


def imitate(
    policy: nn.Module, environment: Environment, planner: Planner, plan: ImitationPlan
) -> list[float]:
    """Teach a team, in place.

    Args:
        policy: As `ActionLogits` takes it; trained in place, left in eval mode.
        environment: Where it acts.
        planner: Whom it learns from.
        plan: How much.

    Returns:
        The mean loss of the last epoch of each round.

    Cost: rounds x epochs x data x (1 + attack steps) forward and backward passes.
    Randomness: fixed by the seed; first weights are the caller's.
    """
    actions = ActionLogits(policy)
    draws = torch.Generator().manual_seed(derive_seed(plan.seed, "imitation"))
    seen: list[Images] = []
    told: list[torch.Tensor] = []
    losses = []
    for number in range(plan.rounds):
        seeds = [derive_seed(plan.seed, "round", number, at) for at in range(plan.episodes)]
        observed, labels = _played(actions, environment, planner, seeds, led=number == 0)
        seen.append(observed)
        told.append(labels)
        epsilon = plan.epsilon * min(1.0, 2 * number / max(1, plan.rounds - 1))
        own = replace(plan, epsilon=epsilon)
        losses.append(_trained(actions, torch.cat(seen), torch.cat(told), own, draws))
    policy.eval()
    return losses


def _played(
    actions: ActionLogits,
    environment: Environment,
    planner: Planner,
    seeds: Sequence[int],
    *,
    led: bool,
) -> tuple[Images, torch.Tensor]:
    actions.eval()
    states = environment.reset(seeds)
    seen, told = [], []
    while len(states):
        observed, best = environment.observe(states), planner.actions(states)
        seen.append(observed)
        told.append(best)
        taken = best
        if not led:
            with torch.no_grad():
                taken = _by_agent(actions(observed), environment).argmax(dim=2)
        states, _, done = environment.step(states, taken)
        states = states[~done]
    return torch.cat(seen), torch.cat(told)


def _trained(
    actions: ActionLogits,
    seen: Images,
    told: torch.Tensor,
    plan: ImitationPlan,
    draws: torch.Generator,
) -> float:
    actions.train()
    optimizer = torch.optim.Adam(actions.parameters(), lr=plan.learning_rate)
    updates = plan.epochs * -(-len(seen) // plan.batch_size)
    schedule = torch.optim.lr_scheduler.LinearLR(
        optimizer, start_factor=1.0, end_factor=0.02, total_iters=updates
    )
    loss_sum = 0.0
    for _ in range(plan.epochs):
        loss_sum = 0.0
        for rows in torch.randperm(len(seen), generator=draws).split(plan.batch_size):
            shown = _moved(actions, seen[rows], told[rows], plan, draws)
            loss = _loss(actions, shown, told[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            loss_sum += float(loss.detach()) * len(rows)
    return loss_sum / len(seen)


def _moved(
    actions: ActionLogits,
    seen: Images,
    told: torch.Tensor,
    plan: ImitationPlan,
    draws: torch.Generator,
) -> Images:
    if plan.epsilon == 0:
        return seen
    lower, upper = (seen - plan.epsilon).clamp(min=0), (seen + plan.epsilon).clamp(max=1)
    moved = lower + torch.rand(seen.shape, generator=draws) * (upper - lower)
    for _ in range(plan.attack_steps):
        moved.requires_grad_()
        (gradient,) = torch.autograd.grad(_loss(actions, moved, told), moved)
        step = 2.5 * plan.epsilon / plan.attack_steps * gradient.sign()
        moved = (moved.detach() + step).clamp(lower, upper)
    return moved


def _loss(actions: ActionLogits, seen: Images, told: torch.Tensor) -> torch.Tensor:
    logits = actions(seen)
    agents = told.shape[1]
    return cross_entropy(logits.reshape(len(told) * agents, -1), told.flatten())


def _by_agent(logits: torch.Tensor, environment: Environment) -> torch.Tensor:
    return logits.reshape(len(logits), environment.agent_count, environment.action_count)
