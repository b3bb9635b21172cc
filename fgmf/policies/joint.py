"""A team of policies behind a classifier: the logits of every agent's actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from fgmf.errors import InvalidInput, NonFiniteOutput

if TYPE_CHECKING:
    from fgmf.classifier import Classifier
    from fgmf.types import Images


class ActionLogits(nn.Module):
    """All action logits of a policy in one row: (n, agents * actions).

    Args:
        policy: A team, which has ``agent_logits(observations) -> (agents, n, actions)``, and whose
            agents act on what they heard if it passes messages; or a module that returns
            (n, actions) of one agent or (n, agents * actions).
    """

    def __init__(self, policy: nn.Module) -> None:
        super().__init__()
        self.policy = policy
        self.training = policy.training  # a wrapper alone has no mode of its own

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return (n, agents * actions), agent after agent."""
        agent_logits = getattr(self.policy, "agent_logits", None)
        if agent_logits is None:
            answer: torch.Tensor = self.policy(observations)
            return answer
        logits: torch.Tensor = agent_logits(observations)
        messages = getattr(self.policy, "messages", None)
        if messages is not None:
            logits = messages(logits)
        return logits.transpose(0, 1).flatten(1)


class OneAgent(nn.Module):
    """The action logits of one agent: (n, actions), a classifier of its own.

    Args:
        actions: Of all agents.
        agent: Which one.
        action_count: Actions that it can choose from.
    """

    def __init__(self, actions: ActionLogits, *, agent: int, action_count: int) -> None:
        super().__init__()
        self.actions, self.agent, self.action_count = actions, agent, action_count
        self.training = actions.training

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return (n, actions)."""
        first = self.agent * self.action_count
        logits: torch.Tensor = self.actions(observations)[:, first : first + self.action_count]
        return logits


@dataclass(frozen=True, kw_only=True)
class JointPolicy:
    """The policy of a whole team: every agent takes its likeliest action.

    Attributes:
        classifier: Around :class:`ActionLogits`; shares the meter of the user's classifier.
        agent_count: Agents.
        action_count: Actions of each.
    """

    classifier: Classifier
    agent_count: int
    action_count: int

    def logits(self, observations: Images) -> torch.Tensor:
        """Return (n, agents, actions) of one batch, attached to the graph where asked.

        Raises:
            InvalidInput: The policy has other agents or actions.
            NonFiniteOutput: It answered NaN or infinity.

        Cost: n forward passes.
        """
        flat = self.classifier.logits(observations)
        if flat.shape[1] != self.agent_count * self.action_count:
            message = f"expected {self.agent_count} agents with {self.action_count} actions each"
            raise InvalidInput(f"{message}, got {flat.shape[1]} logits from the policy")
        if not bool(flat.isfinite().all()):
            raise NonFiniteOutput("expected finite action logits, got NaN or infinity")
        return flat.reshape(len(flat), self.agent_count, self.action_count)

    def decided(self, observations: Images) -> torch.Tensor:
        """Return (n, agents, actions) of any number of observations, on the CPU, no graph."""
        size = self.classifier.batch_size
        parts = [self.logits(part.detach()).cpu() for part in observations.split(size)]
        return torch.cat(parts)

    def of_agent(self, agent: int) -> Classifier:
        """Return the classifier of one agent's actions."""
        module = self.classifier.module
        if not isinstance(module, ActionLogits):
            raise InvalidInput("expected a policy that is a module, to look at one agent alone")
        alone = OneAgent(module, agent=agent, action_count=self.action_count)
        return self.classifier.around(alone)


def joint_policy(classifier: Classifier, *, agent_count: int, action_count: int) -> JointPolicy:
    """Take a user's classifier as the policy of a team.

    Args:
        classifier: Around a team, or a module of action logits.
        agent_count: Agents of the environment.
        action_count: Actions of each.

    Raises:
        InvalidInput: It is no module: an attack on observations needs its gradients.
    """
    if classifier.module is None:
        message = "expected a policy that is a torch.nn.Module, with gradients"
        raise InvalidInput(f"{message}, got {classifier.name}")
    around = classifier.around(ActionLogits(classifier.module))
    return JointPolicy(classifier=around, agent_count=agent_count, action_count=action_count)
