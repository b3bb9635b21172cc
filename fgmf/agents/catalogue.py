"""Decision rules by name, as plain data: what they do, and how many liars they stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

RuleName: TypeAlias = Literal[
    "mean-log-probability", "weighted", "majority", "median", "trimmed-mean", "learned"
]


@dataclass(frozen=True, kw_only=True)
class RuleEntry:
    """What is known of a decision rule without building it.

    Attributes:
        name: In gate files, recipes and `Team(rule=...)`.
        differentiable: Whether scores have a gradient in the agents' logits. A vote has none: an
            attack must go around it, and its gradients prove nothing.
        trained: Whether the rule has parameters that training can change.
        meaning: What it does, for people.
    """

    name: RuleName
    differentiable: bool
    trained: bool
    meaning: str


RULES: Final[Mapping[RuleName, RuleEntry]] = {
    entry.name: entry
    for entry in (
        RuleEntry(
            name="mean-log-probability",
            differentiable=True,
            trained=False,
            meaning="the mean of the agents' log-probabilities: their geometric pool",
        ),
        RuleEntry(
            name="weighted",
            differentiable=True,
            trained=True,
            meaning="the same with one positive weight per agent; equal at first",
        ),
        RuleEntry(
            name="majority",
            differentiable=False,
            trained=False,
            meaning="how many agents vote for a class; ties go to the lowest class",
        ),
        RuleEntry(
            name="median",
            differentiable=True,
            trained=False,
            meaning="the median of the agents' log-probabilities, class by class",
        ),
        RuleEntry(
            name="trimmed-mean",
            differentiable=True,
            trained=False,
            meaning="their mean, class by class, without the lowest and highest",
        ),
        RuleEntry(
            name="learned",
            differentiable=True,
            trained=True,
            meaning="a mixture of the agents' probabilities, weighted by a gate network",
        ),
    )
}

RULE_NAMES: Final[tuple[RuleName, ...]] = get_args(RuleName)


def default_trim(agent_count: int) -> int:
    """How many values per side ``trimmed-mean`` drops of `agent_count`: a quarter, at least one.

    None is dropped of fewer than three, because none would be left.
    """
    return max(1, agent_count // 4) if agent_count > 2 else 0


def tolerated(rule: RuleName, agent_count: int) -> int:
    """How many agents may say anything at all without deciding alone.

    For ``median`` and ``trimmed-mean``: with this many compromised agents, each score still lies
    within the range of the honest agents' log-probabilities for that class. For ``majority``: what
    all honest agents vote for still wins. The other rules promise nothing (0): one agent that is
    sure enough decides.

    Args:
        rule: Its name.
        agent_count: Of the agents that are present, honest or not.

    Raises:
        InvalidInput: There is no such rule, or no agent.
    """
    if rule not in RULES:
        raise InvalidInput(f"expected a rule of {', '.join(RULE_NAMES)}, got {rule!r}")
    if agent_count < 1:
        raise InvalidInput(f"expected at least one agent, got {agent_count}")
    if rule == "trimmed-mean":
        return default_trim(agent_count)
    return (agent_count - 1) // 2 if rule in {"majority", "median"} else 0
