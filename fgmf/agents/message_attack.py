"""An attack on messages: what compromised senders say is chosen to turn the team's decisions.

    for each start (what was sent; then random corners of what is allowed), for all images at once:
        for each step:
            scores  = decide(agents' logits, messages + change)           through the decision rule
            keep each image's change where the margin is the lowest so far
            change -= step size * sign(gradient of the margin), back into the bound
    decide once more with what was kept: only that is believed

Through a rule without gradient (``majority``) the steps follow the mean of log-probabilities; what
is kept is judged by the rule itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from fgmf.errors import AttackFailed, InvalidInput
from fgmf.seeding import image_generator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.agents.messages import MessagePassing, Tampering
    from fgmf.agents.team import Team
    from fgmf.types import ImageFlags, Labels, Logits

_ANY: Final = 2.0
"""So far may a number in [-1, 1] move to become any other one."""


@dataclass(frozen=True, kw_only=True)
class MessageAttack:
    """Who is compromised, and how far.

    Attributes:
        senders: Names of the compromised agents: their messages are replaced, on every edge on its
            own, in every round. What they say as members stays honest.
        bound: How far each number of a message may move; None: any message within [-1, 1].
        steps: Of gradient ascent, per start.
        starts: How often it starts: once from what was sent, then from random corners.
        seed: Fixes the corners, per image.
    """

    senders: tuple[str, ...]
    bound: float | None = None
    steps: int = 20
    starts: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse an attack that attacks nothing.

        Raises:
            InvalidInput: No sender, a bound that is no number above 0, or no steps.
        """
        if not self.senders or isinstance(self.senders, str):
            raise InvalidInput(f"expected names of senders, got {self.senders!r}")
        if self.bound is not None and not 0 < self.bound < float("inf"):
            raise InvalidInput(f"expected bound as a number above 0, or None, got {self.bound!r}")
        if min(self.steps, self.starts) < 1:
            raise InvalidInput(f"expected steps and starts >= 1, got {self.steps}, {self.starts}")


@dataclass(frozen=True, kw_only=True, eq=False)
class AttackedMessages:
    """What an attack on messages came to.

    Attributes:
        right_before: (n,) bool: decided as labelled, with honest messages.
        right_after: (n,) bool: with the worst messages that were found; judged afresh.
        scores: (n, classes) with those.
        messages: (rounds, e, n, size) as they arrived, in the order of the edges.
    """

    right_before: ImageFlags
    right_after: ImageFlags
    scores: Logits
    messages: torch.Tensor


def attack_messages(
    team: Team,
    agent_logits: torch.Tensor,
    labels: Labels,
    attack: MessageAttack,
    *,
    keys: Sequence[str] | None = None,
) -> AttackedMessages:
    """Replace messages so that the team decides wrongly.

    Args:
        team: With message passing.
        agent_logits: (a, n, classes), from `team.agent_logits`; all agents are present.
        labels: (n,) int64.
        attack: Who is compromised, and how far.
        keys: One per image, for the random corners; None: their position.

    Raises:
        InvalidInput: The team passes no messages, knows no such agent, or shapes don't fit.
        AttackFailed: Logits or scores aren't finite.

    Cost: no pass of an agent beyond the given logits. Hooks on messages are offered every trial.
    Randomness: fixed by the attack's seed and the keys.
    """
    names = [str(i) for i in range(len(labels))] if keys is None else list(keys)
    if agent_logits.ndim != 3 or not len(labels) == len(names) == agent_logits.shape[1]:
        raise InvalidInput(
            f"expected a label and a key for each image of logits {tuple(agent_logits.shape)}, "
            f"got {len(labels)} and {len(names)}"
        )
    if not bool(agent_logits.isfinite().all()):
        raise AttackFailed("expected finite logits from every agent, got NaN or infinity")
    trial = _Trial(team, agent_logits.detach(), labels.to(agent_logits.device), attack)
    reach = attack.bound or _ANY
    best = torch.zeros(trial.shape, dtype=trial.logits.dtype, device=trial.logits.device)
    lowest = trial.margins(best)[0].detach()
    for start in range(attack.starts):
        change = torch.zeros_like(best)
        if start:
            change = reach * _corners(names, start, attack.seed, best)
        for step in range(attack.steps):
            leaf = change.requires_grad_()
            margins, ascent = trial.margins(leaf)
            best, lowest = _kept(best, lowest, leaf.detach(), margins.detach())
            (gradient,) = torch.autograd.grad(ascent.sum(), leaf)
            size = reach * (1 - step / attack.steps)
            change = (leaf.detach() - size * gradient.sign()).clamp(-reach, reach)
        best, lowest = _kept(best, lowest, change, trial.margins(change)[0].detach())
    return trial.judged(best)


class _Trial:
    """A team whose compromised messages can be tried out."""

    def __init__(
        self, team: Team, logits: torch.Tensor, labels: Labels, attack: MessageAttack
    ) -> None:
        self.team, self.logits, self.labels = team, logits, labels
        self.passing = _passing_of(team, attack)
        senders = {team.names.index(name) for name in attack.senders}
        self.rows = [row for row, (sender, _) in enumerate(self.passing.edges) if sender in senders]
        settings = self.passing.settings
        self.shape = (settings.rounds, len(self.rows), logits.shape[1], settings.size)
        self.arrived: list[torch.Tensor] = []

    def margins(self, change: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(n,) lead of the true class by the rule, and by what gradients are taken of."""
        scores = self._scores(change)
        margins = _lead(scores, self.labels)
        if not bool(margins.isfinite().all()):
            raise AttackFailed("expected finite scores under changed messages, got NaN or infinity")
        if scores.requires_grad or not change.requires_grad:
            return margins, margins
        states = self.passing(self.logits, tampering=self._tampering(change))
        return margins, _lead(states.log_softmax(dim=2).mean(dim=0), self.labels)

    def judged(self, change: torch.Tensor) -> AttackedMessages:
        """Decide afresh, with honest messages and with changed ones."""
        with torch.no_grad():
            before = self.team.decide(self.logits)
            scores = self._scores(change)
        return AttackedMessages(
            right_before=before.argmax(dim=1) == self.labels,
            right_after=scores.argmax(dim=1) == self.labels,
            scores=scores,
            messages=torch.stack(self.arrived),
        )

    def _scores(self, change: torch.Tensor) -> Logits:
        return self.team.decide(self.logits, tampering=self._tampering(change))

    def _tampering(self, change: torch.Tensor) -> Tampering:
        self.arrived = arrived = list[torch.Tensor]()

        def tamper(round_number: int, messages: torch.Tensor) -> torch.Tensor:
            wanted = messages[self.rows] + change[round_number].to(messages.dtype)
            inside = wanted + (wanted.clamp(-1, 1) - wanted).detach()  # gradients at the edge too
            changed = messages.index_copy(0, torch.tensor(self.rows), inside.clamp(-1, 1))
            arrived.append(changed.detach())
            return changed

        return tamper


def _passing_of(team: Team, attack: MessageAttack) -> MessagePassing:
    if team.messages is None:
        raise InvalidInput("expected a team with message passing, got one without")
    unknown = sorted(set(attack.senders) - set(team.names))
    if unknown:
        raise InvalidInput(f"expected senders of {', '.join(team.names)}, got {unknown}")
    senders = {team.names.index(name) for name in attack.senders}
    if not any(sender in senders for sender, _ in team.messages.edges):
        raise InvalidInput(f"expected senders that send, got {attack.senders} without an edge")
    return team.messages


def _lead(scores: torch.Tensor, labels: Labels) -> torch.Tensor:
    own = scores.gather(1, labels[:, None]).squeeze(1)
    others = scores.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
    return own - others


def _kept(
    best: torch.Tensor, lowest: torch.Tensor, change: torch.Tensor, margins: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    better = margins < lowest
    return torch.where(better[None, None, :, None], change, best), torch.minimum(lowest, margins)


def _corners(names: Sequence[str], start: int, seed: int, like: torch.Tensor) -> torch.Tensor:
    """A random sign for every number, per image."""
    shape = (*like.shape[:2], like.shape[3])
    drawn = [
        torch.from_numpy(image_generator(seed, name, "messages", start).choice([-1.0, 1.0], shape))
        for name in names
    ]
    return torch.stack(drawn, dim=2).to(like)
