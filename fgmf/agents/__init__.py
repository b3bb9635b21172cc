"""Several models that decide together: agents, how they decide, what they tell each other.

    team = Team(
        [Agent("cnn", cnn), Agent("vit", vit), Agent("grey", hybrid, view=View(channels=(0,)))],
        rule="trimmed-mean",
    )
    team(images)                                   # (n, classes): a classifier like any other

`catalogue` is plain data on the rules, `rules` are the rules, `views` what an agent sees, `agent`
and `team` the modules, `messages` what goes between agents and `message_attack` who writes into it.
Importing this package loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from fgmf.agents.catalogue import RULES, RuleEntry, RuleName, tolerated

if TYPE_CHECKING:
    from fgmf.agents.agent import Agent
    from fgmf.agents.message_attack import AttackedMessages, MessageAttack, attack_messages
    from fgmf.agents.messages import MessagePassing, MessageRecord, MessageSettings
    from fgmf.agents.rules import DecisionRule, build_rule
    from fgmf.agents.team import Team
    from fgmf.agents.views import View

_HOMES = {
    "Agent": "fgmf.agents.agent",
    "AttackedMessages": "fgmf.agents.message_attack",
    "DecisionRule": "fgmf.agents.rules",
    "MessageAttack": "fgmf.agents.message_attack",
    "MessagePassing": "fgmf.agents.messages",
    "MessageRecord": "fgmf.agents.messages",
    "MessageSettings": "fgmf.agents.messages",
    "Team": "fgmf.agents.team",
    "View": "fgmf.agents.views",
    "attack_messages": "fgmf.agents.message_attack",
    "build_rule": "fgmf.agents.rules",
}

__all__ = [
    "RULES",
    "Agent",
    "AttackedMessages",
    "DecisionRule",
    "MessageAttack",
    "MessagePassing",
    "MessageRecord",
    "MessageSettings",
    "RuleEntry",
    "RuleName",
    "Team",
    "View",
    "attack_messages",
    "build_rule",
    "tolerated",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'fgmf.agents' has no attribute {name!r}")
