"""What is left of a team when some of its agents lie, are missing, or are late.

    right everywhere = right as it is
    for each choice of k agents:
        lying:     for each wrong class c: they all say "surely c, surely not the label"
                   (of rules that are not monotone also: c by degrees, nothing at all, NaN)
        missing:   the others decide
        late:      they say what they said of another image of the sample
        right everywhere &= the rule decides for the label

Nothing is asked of the agents again. An adversary chooses who it is for the very image, so an image
counts only if no choice breaks it.

Source: own. A rule is *monotone* if its score of a class rises with what any agent gives that class
and depends on nothing else: then no other lie turns the decision from the label to c where
this one doesn't, so the worst case over everything that agents can say is exact. It holds for
means, votes, medians and trimmed means of log-probabilities, without messages. NaN is no way
around it: it spoils a mean, withdraws a vote, and is the highest for every class to a median.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

import torch

from fgmf.agents.message_attack import MessageAttack, attack_messages
from fgmf.agents.rules import Majority, MeanLogProbability, Median, TrimmedMean, Weighted
from fgmf.errors import InvalidInput
from fgmf.seeding import image_generator
from fgmf.team_robustness.asking import decided

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    from fgmf.agents.team import Team
    from fgmf.types import ImageFlags, Labels

    _Trials: TypeAlias = Callable[[tuple[int, ...]], Iterator[ImageFlags]]

_SURE: Final = 1e4
"""Logits at least so far apart: every other class has log-probability -1e4 or less, finite."""
_DEGREES: Final = (1.0, 3.0, 10.0, 30.0)
"""How sure lies are, where more is not always worse."""
_MONOTONE: Final = (MeanLogProbability, Weighted, Majority, Median, TrimmedMean)
_MOST_CHOICES: Final = 5_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Fault:
    """What a team makes of images with some agents at fault.

    Attributes:
        name: ``compromised``, ``missing``, ``stale`` or ``messages``.
        count: How many agents, at once.
        right: (n,) decided rightly, whichever agents they are and whatever they say.
        right_by_agents: By the names of the agents at fault: (n,) likewise, for these alone.
        exact: No lie is worse; False where it was searched for.
    """

    name: str
    count: int
    right: ImageFlags
    right_by_agents: dict[str, ImageFlags]
    exact: bool


def with_compromised(team: Team, said: torch.Tensor, labels: Labels, *, count: int) -> Fault:
    """Let agents say anything at all.

    Args:
        team: Inside its guard.
        said: (agents, n, classes) logits of the honest agents.
        labels: (n,).
        count: How many lie.

    Raises:
        InvalidInput: Not fewer than the agents, or too many choices to try.

    Cost: no pass of an agent; (choices of agents) x (classes) decisions per image, of rules that
        are not monotone five times as many and two more.
    """
    by_agents = {
        named(team, chosen): held_under_lies(team, said, labels, chosen)
        for chosen in choices_of(team, count)
    }
    return fault_of("compromised", by_agents, count=count, exact=is_exact(team))


def with_missing(team: Team, said: torch.Tensor, labels: Labels, *, count: int) -> Fault:
    """Leave agents out; arguments and errors as for :func:`with_compromised`."""

    def trials(chosen: tuple[int, ...]) -> Iterator[ImageFlags]:
        present = torch.ones(len(said), dtype=torch.bool)
        present[list(chosen)] = False
        yield _right(decided(team, said, present), labels)

    return _fault("missing", team, labels, count=count, exact=True, trials=trials)


def with_stale(
    team: Team,
    said: torch.Tensor,
    labels: Labels,
    *,
    count: int,
    keys: Sequence[str],
    seed: int,
) -> Fault:
    """Let agents say what they said of another image; as for :func:`with_compromised`.

    Args:
        team: Inside its guard.
        said: (agents, n, classes).
        labels: (n,).
        count: How many are late.
        keys: One per image.
        seed: With the keys it fixes which other image of the sample it is.

    Raises:
        InvalidInput: As above, or a single image, which has no other.
    """
    if len(labels) < 2:
        raise InvalidInput("expected at least two images for agents that are late, got one")
    before = said[:, _others(keys, seed)]

    def trials(chosen: tuple[int, ...]) -> Iterator[ImageFlags]:
        late = said.clone()
        late[list(chosen)] = before[list(chosen)]
        yield _right(decided(team, late), labels)

    return _fault("stale", team, labels, count=count, exact=False, trials=trials)


def with_messages(
    team: Team,
    said: torch.Tensor,
    labels: Labels,
    *,
    count: int,
    keys: Sequence[str],
    seed: int,
) -> Fault:
    """Let senders say anything in their messages, and the truth as members; as above.

    Cost: no pass of an agent; about 40 decisions with gradients per choice and image.
    """

    def trials(chosen: tuple[int, ...]) -> Iterator[ImageFlags]:
        names = tuple(team.names[at] for at in chosen)
        attack = MessageAttack(senders=names, seed=seed)
        with torch.enable_grad():
            found = attack_messages(team, said, labels, attack, keys=keys)
        yield found.right_after.cpu()

    if team.messages is None:
        raise InvalidInput("expected a team with message passing, got one without")
    return _fault("messages", team, labels, count=count, exact=False, trials=trials)


def held_under_lies(
    team: Team, said: torch.Tensor, labels: Labels, chosen: tuple[int, ...]
) -> ImageFlags:
    """(n,) decided rightly, whatever these agents say; as for :func:`with_compromised`."""
    right = torch.ones(len(labels), dtype=torch.bool)
    for flags in _lies(team, said, labels, chosen, exact=is_exact(team)):
        right &= flags
    return right


def is_exact(team: Team) -> bool:
    """Say whether the worst lie is known, or has to be searched for."""
    return type(team.rule) in _MONOTONE and team.messages is None  # a subclass may do anything


def _fault(
    name: str,
    team: Team,
    labels: Labels,
    *,
    count: int,
    exact: bool,
    trials: _Trials,
) -> Fault:
    by_agents: dict[str, ImageFlags] = {}
    for chosen in choices_of(team, count):
        right = torch.ones(len(labels), dtype=torch.bool)
        for flags in trials(chosen):
            right &= flags
        by_agents[named(team, chosen)] = right
    return fault_of(name, by_agents, count=count, exact=exact)


def fault_of(name: str, by_agents: dict[str, ImageFlags], *, count: int, exact: bool) -> Fault:
    """Put together what each choice of agents at fault leaves."""
    everywhere = torch.stack(list(by_agents.values())).all(dim=0)
    return Fault(name=name, count=count, right=everywhere, right_by_agents=by_agents, exact=exact)


def named(team: Team, chosen: tuple[int, ...]) -> str:
    """Names of agents, for people."""
    return ", ".join(team.names[at] for at in chosen)


def choices_of(team: Team, count: int) -> list[tuple[int, ...]]:
    """Every choice of so many agents, by position.

    Raises:
        InvalidInput: Not fewer than the agents, or too many choices to try.
    """
    agents = len(team.members)
    if not 1 <= count < agents:
        message = f"expected from 1 to {agents - 1} agents at fault in a team of {agents}"
        raise InvalidInput(f"{message}, got {count}")
    choices = list(combinations(range(agents), count))
    if len(choices) > _MOST_CHOICES:
        message = f"expected at most {_MOST_CHOICES} choices of agents at fault"
        raise InvalidInput(f"{message}, got {len(choices)}; ask for fewer agents")
    return choices


def _lies(
    team: Team, said: torch.Tensor, labels: Labels, chosen: tuple[int, ...], *, exact: bool
) -> Iterator[ImageFlags]:
    yield _right(decided(team, said), labels)
    classes = said.shape[2]
    rows = torch.arange(len(labels))
    # Further than anything that honest agents can say together.
    sure = max(_SURE, 10.0 * len(said) * float(said.log_softmax(dim=2).abs().max()))
    for degree in (sure,) if exact else (sure, *_DEGREES):
        for wrong in range(classes):
            lie = torch.zeros(len(labels), classes, dtype=said.dtype)
            lie[:, wrong] = degree
            lie[rows, labels] = -degree
            lying = said.clone()
            lying[list(chosen)] = lie
            # Where the lie is about the label itself, it says only "surely not that".
            yield _right(decided(team, lying), labels)
    for nothing in () if exact else (0.0, math.nan):
        silent = said.clone()
        silent[list(chosen)] = nothing
        yield _right(decided(team, silent), labels)


def _right(scores: torch.Tensor, labels: Labels) -> ImageFlags:
    """A score that is no number decides nothing."""
    return (scores.argmax(dim=1) == labels) & scores.isfinite().all(dim=1)


def _others(keys: Sequence[str], seed: int) -> torch.Tensor:
    """For each image another one: the next in an order that seed and keys fix."""
    drawn = [float(image_generator(seed, key, "late").random()) for key in keys]
    order = sorted(range(len(keys)), key=lambda at: (drawn[at], at))
    others = torch.empty(len(keys), dtype=torch.int64)
    for at, follower in zip(order, [*order[1:], order[0]], strict=True):
        others[at] = follower
    return others
