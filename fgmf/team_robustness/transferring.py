"""Each agent attacked alone, and what that does to the others and to the team.

    for each agent i:  x_i = where agent i alone is most wrong (`climbing`); what the agent does
                             not look at stays as it is
                       right[i, j] = agent j, and the team, on x_i, in two passes that must agree
    transfer of i to j = share, of the images that j gets right without an attack, that x_i breaks

A small transfer is what makes several agents more than one: an adversary who turns one has not
turned the others.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from fgmf.errors import BudgetSpent
from fgmf.team_robustness.asking import OneAlone, decided, said_by_agents, team_of
from fgmf.team_robustness.climbing import most_wrong

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.classifier import Classifier
    from fgmf.threat import ThreatModel
    from fgmf.types import ImageFlags, Images, Labels


@dataclass(frozen=True, kw_only=True, eq=False)
class Transfers:
    """What attacks on single agents did.

    Attributes:
        names: Of the agents.
        right_before: (agents + 1, n) without an attack; the team is the last row.
        right_after: (agents, agents + 1, n) on the images made for each agent.
        examples: (agents, n, c, h, w) these images.
        predicted: (agents, n) what the team says of them.
    """

    names: tuple[str, ...]
    right_before: torch.Tensor
    right_after: torch.Tensor
    examples: torch.Tensor
    predicted: torch.Tensor

    def counts(self, attacked: int, other: int) -> tuple[int, int]:
        """Images that the attack on one agent breaks for another (-1: the team), of how many."""
        before = self.right_before[other]
        return int((before & ~self.right_after[attacked, other]).sum()), int(before.sum())

    @property
    def robust_alone(self) -> torch.Tensor:
        """(agents, n) right, and right when attacked alone."""
        own = torch.arange(len(self.names))
        return self.right_before[:-1] & self.right_after[own, own]

    @property
    def breaks_team(self) -> ImageFlags:
        """(n,) True where an attack on a single agent turns the team."""
        return self.right_before[-1] & (~self.right_after[:, -1]).any(dim=0)


def measure_transfers(  # noqa: PLR0913 - keyword-only parts of one question
    classifier: Classifier,
    images: Images,
    labels: Labels,
    *,
    threat: ThreatModel,
    steps: int,
    keys: Sequence[str],
    seed: int,
    deadline: float | None = None,
) -> Transfers:
    """Attack each agent of a team alone.

    Args:
        classifier: Around a team; inside its guard.
        images: (n, c, h, w) float on the CPU within the bounds.
        labels: (n,).
        threat: Ball and box.
        steps: Of each attack.
        keys: One stable key per image.
        seed: Of the attack's draws, should it make any.
        deadline: Value of ``time.monotonic()`` after which measuring stops.

    Raises:
        BudgetSpent: The deadline passed before every agent was attacked.
        AttackFailed: An agent could not be attacked on some image.
        NonFiniteOutput: An agent answered NaN or infinity.

    Cost: one pass of the team per image; for each agent steps + 2 forward and steps backward passes
        of this agent alone, and two passes of the team.
    Randomness: none.
    """
    team = team_of(classifier)
    said = said_by_agents(classifier, images)
    before = _right_of(said, decided(team, said), labels)
    after, examples, predicted = [], [], []
    for number, name in enumerate(team.names):
        if deadline is not None and time.monotonic() >= deadline:
            raise BudgetSpent("expected every agent to be attacked within the gate's max_seconds")
        alone = classifier.around(OneAlone(team, number))
        made = most_wrong(
            alone,
            images,
            labels,
            name=f"agent {name}",
            threat=threat,
            steps=steps,
            keys=keys,
            seed=seed,
            deadline=deadline,
        )
        heard = said_by_agents(classifier, made)
        scores = decided(team, heard)
        right = _right_of(heard, scores, labels)
        again = said_by_agents(classifier, made.flip(0)).flip(1)
        # An example that holds in one pass alone proves nothing.
        right |= _right_of(again, decided(team, again), labels)
        after.append(right)
        examples.append(made)
        predicted.append(scores.argmax(dim=1))
    return Transfers(
        names=team.names,
        right_before=before,
        right_after=torch.stack(after),
        examples=torch.stack(examples),
        predicted=torch.stack(predicted),
    )


def _right_of(said: torch.Tensor, scores: torch.Tensor, labels: Labels) -> torch.Tensor:
    """(agents + 1, n) who is right; the team is the last row."""
    return torch.cat([said.argmax(dim=2) == labels, (scores.argmax(dim=1) == labels)[None]])
