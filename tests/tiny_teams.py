"""Tiny teams for tests: linear agents that look at rows of pixels of their own, or at the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from tiny_models import LinearModel
from torch import nn

from fgmf.agents import Agent, Team

if TYPE_CHECKING:
    from fgmf.agents import MessagePassing

CLASSES = 3


class Looks(LinearModel):
    """A linear model that looks at some rows of an image alone."""

    def __init__(self, rows: range, *, seed: int) -> None:
        super().__init__(CLASSES, seed=seed)
        seen = torch.zeros(8, 8)
        seen[list(rows)] = 1.0
        with torch.no_grad():
            self.weight *= seen.flatten()
            self.bias.copy_(-self.weight.sum(dim=1) * 0.5)


def disjoint_team(rule: str | nn.Module = "mean-log-probability", agents: int = 3) -> Team:
    """Agents that share no pixel: what turns one leaves the others as they are."""
    height = 8 // agents
    members = [
        Agent(f"a{at}", Looks(range(at * height, (at + 1) * height), seed=at))
        for at in range(agents)
    ]
    return Team(members, rule).eval()


def alike_team(
    rule: str | nn.Module = "mean-log-probability",
    agents: int = 3,
    messages: MessagePassing | None = None,
) -> Team:
    """Agents that are the same model: what turns one turns all."""
    members = [Agent(f"a{at}", LinearModel(CLASSES, seed=0)) for at in range(agents)]
    return Team(members, rule, messages=messages).eval()


def kindred_team(rule: str | nn.Module = "mean-log-probability", agents: int = 3) -> Team:
    """Agents that mostly agree: one model, and a little of their own."""
    members = []
    for at in range(agents):
        own = LinearModel(CLASSES, seed=0)
        with torch.no_grad():
            own.weight += 0.4 * LinearModel(CLASSES, seed=7 + at).weight
            own.bias.copy_(-own.weight.sum(dim=1) * 0.5)
        members.append(Agent(f"a{at}", own))
    return Team(members, rule).eval()
