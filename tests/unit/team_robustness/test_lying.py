"""Agents that lie while the others are attacked: closed forms of linear agents."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_models import LinearModel, classify, keys_of, make_images
from tiny_teams import alike_team, disjoint_team, kindred_team

from fgmf.agents import Agent, MessagePassing, Team
from fgmf.errors import BudgetSpent, InvalidInput, NonFiniteOutput
from fgmf.team_robustness import Fault, with_compromised, with_compromised_attacked
from fgmf.team_robustness.lying import UnderLies
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from torch import nn

IMAGES = make_images(40, margin=0.1)
EPSILON = 0.03


def left(team: Team, *, count: int = 1, batch_size: int = 64, **options: Any) -> Fault:
    classifier = classify(team, batch_size=batch_size)
    labels = options.pop("labels", None)
    with classifier.guard():
        return with_compromised_attacked(
            classifier,
            IMAGES,
            LABELS if labels is None else labels,
            count=count,
            threat=ThreatModel(norm="linf", epsilon=options.pop("epsilon", EPSILON)),
            steps=20,
            keys=keys_of(IMAGES),
            seed=0,
            **options,
        )


def binary_team(rule: str, agents: int = 3) -> Team:
    """Linear agents of two classes; the labels are what most of them say."""
    members = [Agent(f"a{at}", _binary(at)) for at in range(agents)]
    return Team(members, rule).eval()


def _binary(seed: int) -> nn.Module:
    model = LinearModel(2, seed=0)
    with torch.no_grad():
        model.weight += 0.3 * LinearModel(2, seed=7 + seed).weight
        model.bias.copy_(-model.weight.sum(dim=1) * 0.5)
    return model


LABELS = binary_team("majority")(IMAGES).argmax(dim=1)


def _gaps(team: Team) -> torch.Tensor:
    """(agents, n) what is left of each agent's lead on two classes after the worst change."""
    gaps = []
    for agent in team.members:
        model: Any = agent.model
        logits = IMAGES.flatten(1) @ model.weight.T + model.bias
        lead = (logits[:, 1] - logits[:, 0]) * (2 * LABELS - 1)
        gaps.append(lead - EPSILON * (model.weight[1] - model.weight[0]).abs().sum())
    return torch.stack(gaps).detach()


@pytest.mark.parametrize("rule", ["median", "trimmed-mean", "majority"])
def test_one_of_three_lies_and_another_one_is_attacked(rule: str) -> None:
    """Of two classes: whoever of the honest two can be turned decides with the liar.

    So an image is left exactly if no agent can be turned alone; no pixel is near its bounds.
    """
    team = binary_team(rule)
    found = left(team)
    gaps = _gaps(team)
    certain = gaps.abs().amin(dim=0) > 1e-3  # neither side is a matter of rounding
    expected = (gaps > 0).all(dim=0)
    assert torch.equal(found.right[certain], expected[certain])
    assert 5 < int(expected[certain].sum()) < int(certain.sum()) - 5
    assert not found.exact
    assert found.name == "compromised_robust"


@pytest.mark.parametrize("rule", ["median", "majority"])
def test_two_of_five_lie(rule: str) -> None:
    """With two liars one honest agent of three decides, and every agent may be that one."""
    team = binary_team(rule, agents=5)
    found = left(team, count=2)
    gaps = _gaps(team)
    certain = gaps.abs().amin(dim=0) > 1e-3
    assert torch.equal(found.right[certain], (gaps > 0).all(dim=0)[certain])
    assert len(found.right_by_agents) == 10


@pytest.mark.parametrize("rule", ["median", "majority", "mean-log-probability", "learned"])
def test_no_more_is_left_than_without_an_attack_or_without_lies(rule: str) -> None:
    team = kindred_team(rule)
    labels = team(IMAGES).argmax(dim=1)
    with torch.no_grad():
        said = team.agent_logits(IMAGES)
    alone = with_compromised(team, said, labels, count=1)
    both = left(team, labels=labels)
    assert not bool((both.right & ~alone.right).any())
    untouched = left(team, labels=labels, epsilon=0.0)
    assert torch.equal(untouched.right, alone.right)


def test_known_examples_are_tried() -> None:
    """What breaks an agent alone breaks the team with a liar, whatever the search finds."""
    team, classifier = disjoint_team("median"), classify(disjoint_team("median"))
    labels = team(IMAGES).argmax(dim=1)
    dark = torch.zeros_like(IMAGES)  # of no ball: as if they were known
    with classifier.guard(), torch.no_grad():
        found = with_compromised_attacked(
            classifier,
            IMAGES,
            labels,
            count=1,
            threat=ThreatModel(norm="linf", epsilon=0.0),
            steps=1,
            keys=keys_of(IMAGES),
            seed=0,
            known=dark[None],
        )
        said = team.agent_logits(dark)
        expected = with_compromised(team, said, labels, count=1).right
        clean = with_compromised(team, team.agent_logits(IMAGES), labels, count=1).right
    assert torch.equal(found.right, clean & expected)
    assert not torch.equal(found.right, clean)


def test_the_scores_that_are_followed_are_those_of_the_worst_lies() -> None:
    """The label is the highest of all scores exactly where no lie turns the decision."""
    for rule in ("mean-log-probability", "weighted", "median", "trimmed-mean"):
        for agents in (3, 4, 5):
            team = disjoint_team(rule, agents)
            labels = team(IMAGES).argmax(dim=1)
            with torch.no_grad():
                said = team.agent_logits(IMAGES)
                scores = UnderLies(team, (1,))(IMAGES)
            held = with_compromised(team, said, labels, count=1).right_by_agents["a1"]
            assert torch.equal(scores.argmax(dim=1) == labels, held)
            assert scores.shape == (40, 6)


def test_the_batch_size_changes_nothing_and_liars_are_not_asked() -> None:
    one, other = left(kindred_team("median")), left(kindred_team("median"), batch_size=7)
    assert all(
        torch.equal(flags, other.right_by_agents[names])
        for names, flags in one.right_by_agents.items()
    )
    team = alike_team("median")
    asked = []
    team.agents[0].register_forward_hook(lambda *_: asked.append(1))
    UnderLies(team, (0,))(IMAGES)
    assert asked == []
    UnderLies(team, (1,))(IMAGES)
    assert asked == [1]


class Silent(LinearModel):
    """Says NaN."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images) * torch.nan


def test_what_cannot_be_measured() -> None:
    with pytest.raises(BudgetSpent):
        left(kindred_team("median"), deadline=time.monotonic() - 1)
    with pytest.raises(InvalidInput, match="from 1 to 2 agents at fault"):
        left(kindred_team("median"), count=3)
    members = [Agent("a", Silent(2)), Agent("b", LinearModel(2)), Agent("c", LinearModel(2))]
    with pytest.raises(NonFiniteOutput):
        left(Team(members, "median").eval())


def test_teams_with_messages_are_searched() -> None:
    team = alike_team("median", messages=MessagePassing(3, 3))
    labels = team(IMAGES).argmax(dim=1)
    found = left(team, labels=labels, epsilon=0.02)
    assert 0 < int(found.right.sum()) < 40
