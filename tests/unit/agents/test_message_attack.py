"""The attack on messages: it finds what can be found, and stays within what it may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from fgmf.agents import (
    Agent,
    AttackedMessages,
    MessageAttack,
    MessagePassing,
    MessageSettings,
    Team,
    attack_messages,
)
from fgmf.errors import AttackFailed, InvalidInput
from tests.tiny_models import LinearModel, make_images

if TYPE_CHECKING:
    from collections.abc import Sequence

IMAGES = make_images(12)


def _team(rule: str = "mean-log-probability", weight: float = 3.0, **settings: Any) -> Team:
    passing = MessagePassing(3, 4, settings=MessageSettings(size=3, **settings))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        passing.decode.copy_(weight * torch.randn(passing.decode.shape, generator=generator))
    agents = [Agent(f"a{i}", LinearModel(seed=i)) for i in range(3)]
    return Team(agents, rule=rule, messages=passing)


def _attacked(team: Team, **attack: Any) -> AttackedMessages:
    logits = team.agent_logits(IMAGES)
    labels = team.decide(logits).argmax(dim=1)
    return attack_messages(team, logits, labels, MessageAttack(senders=("a0",), **attack))


def _lead(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    own = scores.gather(1, labels[:, None]).squeeze(1)
    return own - scores.scatter(1, labels[:, None], -torch.inf).amax(dim=1)


@pytest.mark.parametrize("rule", ["mean-log-probability", "majority", "median", "learned"])
def test_decisions_are_turned(rule: str) -> None:
    found = _attacked(_team(rule, weight=10.0))
    assert bool(found.right_before.all())
    assert int(found.right_after.sum()) < 12
    assert torch.equal(found.scores.argmax(dim=1) == _labels(_team(rule, 10.0)), found.right_after)


def _labels(team: Team) -> torch.Tensor:
    return team(IMAGES).argmax(dim=1)


def test_the_worst_corner_of_one_edge_is_found() -> None:
    """One edge and round: the receiver's log-probabilities are linear in what it hears."""
    team = _team(topology=((0, 1),))
    found = _attacked(team, steps=40, starts=4)
    logits, labels = team.agent_logits(IMAGES), _labels(team)
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
    with torch.no_grad():
        leads = torch.stack(
            [
                _lead(
                    team.decide(logits, tampering=lambda _, m, corner=corner: corner.expand_as(m)),
                    labels,
                )
                for corner in corners
            ]
        )
    # Normalisation cancels in a lead, which is a minimum of linear functions: its lowest value over
    # the box is at a corner. float32.
    torch.testing.assert_close(_lead(found.scores, labels), leads.amin(0), rtol=1e-4, atol=1e-4)


def test_only_messages_of_the_compromised_move_and_no_further_than_stated() -> None:
    team = _team()
    found = _attacked(team, bound=0.2)
    with torch.no_grad():
        sent = team.messages.sent(team.agent_logits(IMAGES).log_softmax(dim=2))  # type: ignore[union-attr]
    moved = (found.messages[0] - sent).abs()
    compromised = torch.tensor([sender == 0 for sender, _ in team.messages.edges])  # type: ignore[union-attr]
    assert not bool(moved[~compromised].any())
    assert float(moved[compromised].max()) <= 0.2 + 1e-6  # float32
    assert float(moved[compromised].max()) > 0.19
    assert float(found.messages.abs().max()) <= 1


def test_more_bound_does_no_less() -> None:
    leads = [
        _lead(_attacked(_team(rounds=2), bound=bound).scores, _labels(_team(rounds=2))).mean()
        for bound in (0.05, 0.5, None)
    ]
    assert leads[0] > leads[1] > leads[2]


def test_the_same_again_in_other_batches() -> None:
    team = _team(rounds=2)
    logits, labels = team.agent_logits(IMAGES), _labels(team)
    attack, keys = MessageAttack(senders=("a1", "a2"), bound=0.3), [f"k{i}" for i in range(12)]
    whole = attack_messages(team, logits, labels, attack, keys=keys)
    part = attack_messages(team, logits[:, 7:], labels[7:], attack, keys=keys[7:])
    torch.testing.assert_close(part.scores, whole.scores[7:], rtol=1e-5, atol=1e-5)  # float32


def test_messages_without_effect_turn_nothing() -> None:
    found = _attacked(_team(weight=0.0))
    assert bool(found.right_after.all())


@pytest.mark.parametrize(
    "settings",
    [
        {"senders": ()},
        {"senders": "a0"},
        {"senders": ("a0",), "bound": 0.0},
        {"senders": ("a0",), "bound": float("nan")},
        {"senders": ("a0",), "steps": 0},
        {"senders": ("a0",), "starts": 0},
    ],
)
def test_attacks_that_are_none(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        MessageAttack(**settings)


@pytest.mark.parametrize(
    ("team", "senders", "message"),
    [
        (Team([Agent("a0", LinearModel())]), ("a0",), "with message passing"),
        (_team(), ("b",), "expected senders of a0, a1, a2"),
        (_team(topology=((0, 1),)), ("a2",), "without an edge"),
    ],
)
def test_teams_that_cannot_be_attacked_so(
    team: Team, senders: tuple[str, ...], message: str
) -> None:
    logits = team.agent_logits(IMAGES)
    with pytest.raises(InvalidInput, match=message):
        attack_messages(team, logits, _labels(team), MessageAttack(senders=senders))


def test_labels_of_other_images() -> None:
    team = _team()
    with pytest.raises(InvalidInput, match="a label and a key for each image"):
        attack_messages(
            team, team.agent_logits(IMAGES), torch.zeros(3).long(), MessageAttack(senders=("a0",))
        )


class Diverging(nn.Module):
    """A rule of one's own that fails."""

    def forward(self, log_probabilities: torch.Tensor, members: Sequence[int]) -> torch.Tensor:
        return log_probabilities.mean(dim=0) / 0


def test_numbers_that_are_not_finite() -> None:
    labels, attack = torch.zeros(12, dtype=torch.int64), MessageAttack(senders=("a0",))
    team = _team()
    logits = team.agent_logits(IMAGES).detach()
    team.rule = Diverging()
    with pytest.raises(AttackFailed, match="finite scores"):
        attack_messages(team, logits, labels, attack)
    logits[1, 0, 0] = torch.nan
    with pytest.raises(AttackFailed, match="finite logits"):
        attack_messages(_team(), logits, labels, attack)
