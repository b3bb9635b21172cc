"""An adversary who has some of the agents, and the input of the others within a ball.

    for each choice of k agents who lie:
        low_c, up_c = score of class c where they say "surely not c", and "surely c"
        scores      = (low, up without the class that low is highest for)        (n, 2 * classes)
        x'          = where these are most wrong (`climbing`), of images that lies leave right
        right      &= right under every lie, on x' and on what attacks on single agents found

Of a monotone rule (`faults`) lies turn the decision from the label y to c exactly where up_c is
above low_y. Where y is highest in low, every other up_c stands beside low_y, and y is the highest
of all scores exactly if no lie turns it; where it is not, it is not the highest of all either.
So an attack on these scores is an attack on what is asked, and needs no other knowledge of labels
than any attack. A vote is followed as a median, any other rule as a mixture of probabilities.
Whatever is found is judged by the rule itself under the lies of `faults`, in two passes that must
agree: a search, so that what is left is at most this much.

Source: own.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

import torch
from torch import nn

from fgmf.agents.rules import Majority, Median
from fgmf.errors import BudgetSpent
from fgmf.team_robustness.asking import said_by_agents, team_of
from fgmf.team_robustness.climbing import most_wrong
from fgmf.team_robustness.faults import (
    Fault,
    choices_of,
    fault_of,
    held_under_lies,
    is_exact,
    named,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.agents.team import Team
    from fgmf.classifier import Classifier
    from fgmf.threat import ThreatModel
    from fgmf.types import ImageFlags, Images, Labels

_NEVER: Final = -1e4
"""Log-probability of what a liar surely does not say."""


class UnderLies(nn.Module):
    """A team some of whose agents say the worst: from images to (n, 2 * classes).

    The first half are the scores of classes that all liars are against, the second those of
    classes that all liars are for, where the class that leads the first half is put last.

    Args:
        team: Whose other agents are asked, each once.
        liars: Positions of those who lie; they are not asked.
    """

    def __init__(self, team: Team, liars: tuple[int, ...]) -> None:
        super().__init__()
        self.team, self.liars = team, liars
        self.training = team.training

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return scores (n, 2 * classes)."""
        honest = {
            at: agent(images).float().log_softmax(dim=1)
            for at, agent in enumerate(self.team.members)
            if at not in self.liars
        }
        low, up = (self._scores(honest, said) for said in (_NEVER, 0.0))
        least = low.amin(dim=1, keepdim=True).detach() - 1
        return torch.cat([low, up.scatter(1, low.argmax(dim=1, keepdim=True), least)], dim=1)

    def _scores(self, honest: dict[int, torch.Tensor], said: float) -> torch.Tensor:
        """Where liars say this of every class: rules look at each class alone."""
        like = next(iter(honest.values()))
        members = range(len(self.team.members))
        rows = torch.stack([honest.get(at, torch.full_like(like, said)) for at in members])
        if not is_exact(self.team):
            return rows.logsumexp(dim=0) - math.log(len(rows))
        rule = Median() if isinstance(self.team.rule, Majority) else self.team.rule
        scores: torch.Tensor = rule(rows, members)
        return scores


def with_compromised_attacked(  # noqa: PLR0913 - keyword-only parts of one question
    classifier: Classifier,
    images: Images,
    labels: Labels,
    *,
    count: int,
    threat: ThreatModel,
    steps: int,
    keys: Sequence[str],
    seed: int,
    known: Images | None = None,
    deadline: float | None = None,
) -> Fault:
    """Let agents say anything at all while the input of the others is attacked.

    Args:
        classifier: Around a team; inside its guard.
        images: (n, c, h, w) float on the CPU within the bounds.
        labels: (n,).
        count: How many lie.
        threat: Ball and box; what liars see doesn't matter.
        steps: Of the attack, for each choice of liars.
        keys: One stable key per image.
        seed: Of the attack's draws, should it make any.
        known: (m, n, c, h, w) inside the ball, from other attacks: tried too.
        deadline: Value of ``time.monotonic()`` after which measuring stops.

    Returns:
        What is left of the images, at most; `exact` is False.

    Raises:
        InvalidInput: As for :func:`~fgmf.team_robustness.with_compromised`.
        BudgetSpent: The deadline passed.
        AttackFailed: Some image could not be attacked.
        NonFiniteOutput: An agent answered NaN or infinity.

    Cost: one pass of the team per image, two for each known image; for each choice of liars steps
        + 2 forward and steps backward passes of the other agents, and two of the team, of images
        that lies alone leave right.
    Randomness: none.
    """
    team = team_of(classifier)
    said = said_by_agents(classifier, images)
    looked = [_looked_twice(classifier, made) for made in ([] if known is None else known)]
    by_agents: dict[str, ImageFlags] = {}
    for chosen in choices_of(team, count):
        if deadline is not None and time.monotonic() >= deadline:
            raise BudgetSpent("expected every choice of liars within the gate's max_seconds")
        held = held_under_lies(team, said, labels, chosen)
        for heard in looked:
            held &= _held(team, heard, labels, chosen)
        at = held.nonzero().flatten()
        if len(at):
            made = most_wrong(
                classifier.around(UnderLies(team, chosen)),
                images[at],
                labels[at],
                name=f"the team with {named(team, chosen)} lying",
                threat=threat,
                steps=steps,
                keys=[keys[i] for i in at.tolist()],
                seed=seed,
                deadline=deadline,
            )
            held[at] = _held(team, _looked_twice(classifier, made), labels[at], chosen)
        by_agents[named(team, chosen)] = held
    return fault_of("compromised_robust", by_agents, count=count, exact=False)


def _looked_twice(classifier: Classifier, made: Images) -> tuple[torch.Tensor, torch.Tensor]:
    """What agents say of images, asked in one order and in the other."""
    first = said_by_agents(classifier, made)
    return first, said_by_agents(classifier, made.flip(0)).flip(1)


def _held(
    team: Team,
    heard: tuple[torch.Tensor, torch.Tensor],
    labels: Labels,
    chosen: tuple[int, ...],
) -> ImageFlags:
    """What holds in one pass alone proves nothing."""
    first, second = heard
    return held_under_lies(team, first, labels, chosen) | held_under_lies(
        team, second, labels, chosen
    )
