"""A team behind a classifier: what each agent says, one agent alone, and stand-ins for its rule.

    rows         (n, agents * classes)   what every agent says, for rules that are tried out on it
    alone        (n, classes)            one agent, as if it were the whole
    stand-in     (n, classes)            the same agents under a rule that has a gradient

Each shares settings and meter of the user's classifier. A pass of the team, of its rows and of a
stand-in is a pass of each of its agents; a pass of one alone is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import torch
from torch import nn

from fgmf.agents.rules import Majority, Median
from fgmf.agents.team import Team
from fgmf.classifier.steadiness import refuse_nonfinite
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from fgmf.classifier import Classifier
    from fgmf.types import Images, Logits

StandIn = Literal["mean-log-probability", "soft-votes", "median"]
STAND_INS: Final[tuple[StandIn, ...]] = ("mean-log-probability", "soft-votes", "median")


class AgentRows(nn.Module):
    """What every agent says, beside each other: (n, agents * classes).

    Args:
        team: Whose agents are asked.
    """

    def __init__(self, team: Team) -> None:
        super().__init__()
        self.team = team
        self.training = team.training  # a wrapper has no mode of its own

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (n, agents * classes), agent after agent."""
        return self.team.agent_logits(images).transpose(0, 1).flatten(1)


class OneAlone(nn.Module):
    """One agent of a team: (n, classes).

    Args:
        team: Whose agent is asked.
        agent: Its position.
    """

    def __init__(self, team: Team, agent: int) -> None:
        super().__init__()
        self.agent = team.members[agent]
        self.training = team.training

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the agent's own logits."""
        logits: torch.Tensor = self.agent(images)
        return logits


class SoftTeam(nn.Module):
    """A team under a rule with a gradient, for attacks through a rule without one.

    ``mean-log-probability`` is the mean over agents; ``soft-votes`` the mean of probabilities: the
    number of votes, as far as agents are sure of them, which saturates in each agent alone;
    ``median`` goes after as many agents as it takes, where the mean may waste its budget on one.

    Args:
        team: Whose agents and messages are used.
        stand_in: Which rule.
    """

    def __init__(self, team: Team, stand_in: StandIn) -> None:
        super().__init__()
        self.team, self.stand_in = team, stand_in
        self.training = team.training

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return scores (n, classes)."""
        logits = self.team.agent_logits(images)
        if self.team.messages is not None:
            logits = self.team.messages(logits, tuple(range(len(logits))))
        said = logits.log_softmax(dim=2)
        if self.stand_in == "soft-votes":
            return said.exp().mean(dim=0).clamp(min=1e-12).log()
        if self.stand_in == "median":
            middle: torch.Tensor = Median()(said, range(len(said)))
            return middle
        return said.mean(dim=0)


def team_of(classifier: Classifier) -> Team:
    """Return the team that a classifier is around.

    Raises:
        InvalidInput: It is around something else.
    """
    if not isinstance(classifier.module, Team):
        message = "expected a model that is an fgmf.agents.Team"
        raise InvalidInput(f"{message}, got {classifier.name}; a single model has gates of its own")
    return classifier.module


def said_by_agents(classifier: Classifier, images: Images) -> torch.Tensor:
    """Return what every agent says of images: (agents, n, classes) on the CPU.

    Args:
        classifier: Around a team; inside its guard.
        images: (n, c, h, w) within the bounds.

    Raises:
        NonFiniteOutput: An agent answered NaN or infinity.

    Cost: one pass of the team per image.
    """
    team = team_of(classifier)
    rows = classifier.around(AgentRows(team))
    with rows.guard():
        flat = refuse_nonfinite(rows.logits_in_batches(images))
    agents = len(team.members)
    return flat.reshape(len(flat), agents, -1).transpose(0, 1).contiguous()


def decided(team: Team, said: torch.Tensor, present: torch.Tensor | None = None) -> Logits:
    """Return the team's scores (n, classes) on what agents say, on the CPU, without a graph."""
    device = next((p.device for p in team.parameters()), said.device)
    with torch.no_grad():
        scores: Logits = team.decide(said.to(device), present).cpu()
    return scores


def has_gradient(team: Team) -> bool:
    """Say whether the team's rule passes gradients on; of rules of others it is assumed."""
    return not isinstance(team.rule, Majority)
