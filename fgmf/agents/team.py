"""A team: agents and a rule by which they decide. It is a classifier like any other.

    own    = each agent's logits from its view                       (a, n, classes)
    own    = message passing among the agents that are present       where the team has one
    scores = rule(log-softmax of own, agents that are present)       (n, classes)

Agents are asked one after another, in their order, each once per image: a pass of the team costs a
pass of each agent, and what the rule costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from fgmf.agents.agent import Agent
from fgmf.agents.rules import build_rule
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.agents.messages import MessagePassing, Tampering
    from fgmf.types import Images, Logits


class Team(nn.Module):
    """Several agents that decide together.

    Args:
        agents: One or more, with names of their own and as many classes as each other.
        rule: A name of `fgmf.agents.RULES`, or a module with the interface of
            :class:`~fgmf.agents.DecisionRule`.
        messages: What agents tell each other before the rule decides; None: nothing.

    Attributes:
        agents: In the given order: rows of `agent_logits`.
        rule: The module that decides.
        messages: As given.

    Raises:
        InvalidInput: No agents, something else than agents, a name twice, an unknown rule, or
            messages for another number of agents.
    """

    def __init__(
        self,
        agents: Sequence[Agent],
        rule: str | nn.Module = "mean-log-probability",
        *,
        messages: MessagePassing | None = None,
    ) -> None:
        super().__init__()
        self.agents = nn.ModuleList(_checked_agents(agents))
        self.rule = build_rule(rule, len(self.agents))
        self.rule_name = rule if isinstance(rule, str) else type(rule).__name__
        if messages is not None and messages.agent_count != len(self.agents):
            raise InvalidInput(
                f"expected messages between {len(self.agents)} agents, got message passing for "
                f"{messages.agent_count}"
            )
        self.messages = messages

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the agents, in order."""
        return tuple(agent.name for agent in self.members)

    @property
    def members(self) -> tuple[Agent, ...]:
        """The agents, in order, with their type."""
        return tuple(cast("Agent", agent) for agent in self.agents)

    def agent_logits(self, images: Images) -> torch.Tensor:
        """Each agent's own logits (a, n, classes), before messages, for images (n, c, h, w).

        Raises:
            InvalidInput: An agent cannot work with the images, or agents differ in their classes.

        Cost: 1 forward pass of each agent per image.
        """
        logits = [agent(images) for agent in self.members]
        widths = [each.shape[1] for each in logits]
        if len(set(widths)) > 1:
            said = ", ".join(f"{n}: {w}" for n, w in zip(self.names, widths, strict=True))
            raise InvalidInput(f"expected as many classes from every agent, got {said}")
        return torch.stack([_precise(each) for each in logits])

    def decide(
        self,
        agent_logits: torch.Tensor,
        present: torch.Tensor | None = None,
        *,
        tampering: Tampering | None = None,
    ) -> Logits:
        """Scores (n, classes) from logits of the agents (a, n, classes).

        Logits of another moment can be given for agents that are late, and any logits for agents
        that are compromised. Nothing is asked of the agents again.

        Args:
            agent_logits: A row per agent, in the order of `agents`.
            present: (a,) bool: the agents that take part; None: all. The others send no messages
                either, and what stands in their rows is not read.
            tampering: Replaces messages on their way; only in a team with message passing.

        Returns:
            Log-probabilities, up to a constant per image, from the rules that have them; votes
            from ``majority``.

        Raises:
            InvalidInput: Other shapes, no agent is present, or tampering without messages.

        Cost: no pass of an agent.
        """
        members = self._members(agent_logits, present)
        if self.messages is not None:
            agent_logits = self.messages(agent_logits, members, tampering=tampering)
        elif tampering is not None:
            raise InvalidInput("expected a team with message passing, got tampering and none")
        if len(members) < len(self.agents):
            agent_logits = agent_logits[list(members)]
        scores: Logits = self.rule(_precise(agent_logits).log_softmax(dim=2), members)
        return scores

    def forward(self, images: Images) -> Logits:
        """Images (n, c, h, w) to scores (n, classes), all agents present.

        Raises:
            InvalidInput: As :meth:`agent_logits`.

        Cost: 1 forward pass of each agent per image.
        """
        return self.decide(self.agent_logits(images))

    def extra_repr(self) -> str:
        """Names of the agents."""
        return f"names={self.names}"

    def _members(self, agent_logits: torch.Tensor, present: torch.Tensor | None) -> tuple[int, ...]:
        count = len(self.agents)
        if agent_logits.ndim != 3 or agent_logits.shape[0] != count:
            raise InvalidInput(
                f"expected logits of shape ({count}, n, classes), a row per agent, "
                f"got {tuple(agent_logits.shape)}"
            )
        if present is None:
            return tuple(range(count))
        if present.dtype != torch.bool or tuple(present.shape) != (count,):
            raise InvalidInput(
                f"expected present as ({count},) of torch.bool, one per agent, "
                f"got {tuple(present.shape)} of {present.dtype}"
            )
        members = tuple(i for i, there in enumerate(present.tolist()) if there)
        if not members:
            raise InvalidInput("expected at least one agent to be present, got none")
        return members


def _checked_agents(agents: Sequence[Agent]) -> list[Agent]:
    given = list(agents)
    if not given:
        raise InvalidInput("expected at least one agent, got none")
    for each in given:
        if not isinstance(each, Agent):
            raise InvalidInput(f"expected agents of type Agent, got {type(each).__name__}")
    names = [agent.name for agent in given]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidInput(f"expected a name of its own for every agent, got twice: {twice}")
    return given


def _precise(logits: torch.Tensor) -> torch.Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
