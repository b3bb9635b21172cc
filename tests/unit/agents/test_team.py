"""Agents and teams: who is asked what, and who decides."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from fgmf.agents import RULES, Agent, MessagePassing, Team, View
from fgmf.backbones import ConvNet, ConvNetConfig, HybridConfig, HybridNet, ViT, ViTConfig
from fgmf.errors import InvalidInput
from tests.tiny_models import LinearModel, make_images

IMAGES = make_images(6)


def _agents(count: int = 3) -> list[Agent]:
    return [Agent(f"agent-{i}", LinearModel(seed=i)) for i in range(count)]


class Answering(nn.Module):
    """Returns whatever it was given, for any images."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, images: torch.Tensor) -> Any:
        return self.answer


def test_agents_are_asked_in_order() -> None:
    agents = _agents()
    team = Team(agents)
    assert team.names == ("agent-0", "agent-1", "agent-2")
    expected = torch.stack([agent.model(IMAGES) for agent in agents])
    assert torch.equal(team.agent_logits(IMAGES), expected)


def test_forward_decides_on_agent_logits() -> None:
    team = Team(_agents())
    expected = team.agent_logits(IMAGES).log_softmax(dim=2).mean(dim=0)
    torch.testing.assert_close(team(IMAGES), expected)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_every_rule_with_every_number_of_agents(rule: str, count: int) -> None:
    scores = Team(_agents(count), rule=rule)(IMAGES)
    assert scores.shape == (6, 4)
    assert bool(scores.isfinite().all())
    if count == 1:
        assert torch.equal(scores.argmax(1), LinearModel(seed=0)(IMAGES).argmax(1))


def test_different_backbones_and_views() -> None:
    side = {"image_side": 16}
    team = Team(
        [
            Agent("cnn", ConvNet(ConvNetConfig(**side, channels=3))),
            Agent("vit", ViT(ViTConfig(**side, channels=1, depth=1)), view={"channels": [1]}),
            Agent(
                "corner",
                HybridNet(HybridConfig(image_side=8, channels=3, depth=1)),
                view=View(crop=(8, 8, 8, 8)),
            ),
        ]
    )
    images = torch.rand(2, 3, 16, 16)
    corner = team.members[2].model(images[:, :, 8:, 8:])
    torch.testing.assert_close(team.agent_logits(images)[2], corner)
    assert team(images).shape == (2, 10)


@pytest.mark.parametrize("rule", RULES)
def test_who_is_missing_is_left_out(rule: str) -> None:
    team = Team(_agents(), rule=rule)
    logits = team.agent_logits(IMAGES)
    present = torch.tensor([True, False, True])
    smaller = Team([team.members[0], team.members[2]], rule=rule)
    expected = smaller.decide(logits[[0, 2]])
    torch.testing.assert_close(team.decide(logits, present), expected)
    logits[1] = torch.nan  # not read
    torch.testing.assert_close(team.decide(logits, present), expected)


def test_who_is_late_is_heard_as_it_was() -> None:
    team = Team(_agents())
    logits, older = team.agent_logits(IMAGES), team.agent_logits(make_images(6, seed=9))
    stale = torch.stack([older[0], logits[1], logits[2]])
    expected = stale.log_softmax(dim=2).mean(dim=0)
    torch.testing.assert_close(team.decide(stale), expected)


def test_rules_of_ones_own() -> None:
    class First(nn.Module):
        def forward(self, log_probabilities: torch.Tensor, members: tuple[int, ...]) -> Any:
            return log_probabilities[0]

    team = Team(_agents(), rule=First())
    assert torch.equal(team(IMAGES).argmax(1), LinearModel(seed=0)(IMAGES).argmax(1))
    assert team.rule_name == "First"


def test_extreme_logits_stay_finite() -> None:
    team = Team(_agents())
    logits = team.agent_logits(IMAGES)
    logits[1] = torch.tensor([1e30, -1e30, 0.0, 1.0])
    assert bool(team.decide(logits).isfinite().all())


def test_precision() -> None:
    team = Team([Agent("a", LinearModel().half()), Agent("b", LinearModel(seed=1).half())])
    assert team(IMAGES.half()).dtype == torch.float32
    assert Team(_agents()).double()(IMAGES.double()).dtype == torch.float64


def test_a_team_can_be_copied_and_kept() -> None:
    team = Team(_agents(), rule="learned", messages=MessagePassing(3, 4))
    other = Team([Agent(f"agent-{i}", LinearModel(seed=9)) for i in range(3)], rule="learned")
    other.messages = MessagePassing(3, 4, seed=9)
    other.load_state_dict(team.state_dict())
    assert torch.equal(other(IMAGES), team(IMAGES))
    assert torch.equal(copy.deepcopy(team)(IMAGES), team(IMAGES))


@pytest.mark.parametrize("name", ["", "a b", "../a", "ä", 7, "a" * 65, None, "-_"])
def test_names_that_are_none(name: Any) -> None:
    with pytest.raises(InvalidInput, match="expected the name of an agent"):
        Agent(name, LinearModel())


def test_models_that_are_none() -> None:
    with pytest.raises(InvalidInput, match=r"torch\.nn\.Module, got function"):
        Agent("a", lambda images: images)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (torch.zeros(6, 4, 1), r"\(6, classes\)"),
        (torch.zeros(5, 4), r"got \(5, 4\)"),
        (torch.zeros(6, 1), "at least two classes"),
        (torch.zeros(6, 4, dtype=torch.int64), "a tensor of torch.int64"),
        ("logits", "a str without a tensor"),
        ({"scores": torch.zeros(6, 4)}, "a dict without a tensor"),
    ],
)
def test_answers_that_are_no_logits(answer: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Agent("a", Answering(answer))(IMAGES)


def test_logits_in_an_object() -> None:
    logits = torch.rand(6, 4)
    assert torch.equal(Agent("a", Answering({"logits": logits}))(IMAGES), logits)


def test_teams_that_are_none() -> None:
    with pytest.raises(InvalidInput, match="at least one agent"):
        Team([])
    with pytest.raises(InvalidInput, match="got twice: \\['agent-0'\\]"):
        Team([*_agents(), *_agents(1)])
    with pytest.raises(InvalidInput, match="type Agent, got LinearModel"):
        Team([LinearModel()])  # type: ignore[list-item]
    with pytest.raises(InvalidInput, match="between 3 agents, got message passing for 2"):
        Team(_agents(), messages=MessagePassing(2, 4))


def test_agents_of_different_classes() -> None:
    team = Team([Agent("a", LinearModel(3)), Agent("b", LinearModel(4))])
    with pytest.raises(InvalidInput, match="got a: 3, b: 4"):
        team(IMAGES)


@pytest.mark.parametrize(
    ("shape", "present", "message"),
    [
        ((2, 6, 4), None, r"expected logits of shape \(3, n, classes\)"),
        ((3, 4), None, r"expected logits of shape \(3, n, classes\)"),
        ((3, 6, 4), torch.ones(3), "torch.bool"),
        ((3, 6, 4), torch.ones(2, dtype=torch.bool), r"\(3,\) of torch.bool"),
        ((3, 6, 4), torch.zeros(3, dtype=torch.bool), "at least one agent to be present"),
    ],
)
def test_decisions_on_nothing(shape: tuple[int, ...], present: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Team(_agents()).decide(torch.zeros(shape), present)


def test_tampering_without_messages() -> None:
    with pytest.raises(InvalidInput, match="team with message passing"):
        Team(_agents()).decide(torch.zeros(3, 1, 4), tampering=lambda _, messages: messages)
