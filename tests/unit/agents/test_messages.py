"""Messages: who hears whom, what a message can do, and that all of them are offered."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from fgmf.agents import Agent, MessagePassing, MessageRecord, MessageSettings, Team
from fgmf.errors import InvalidInput
from tests.tiny_models import LinearModel, make_images

IMAGES = make_images(5)


def _passing(*, agents: int = 3, **settings: Any) -> MessagePassing:
    """With weights as training might leave them."""
    passing = MessagePassing(agents, 4, settings=MessageSettings(size=3, **settings)).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        passing.decode.copy_(torch.randn(passing.decode.shape, generator=generator))
    return passing


def _logits(agents: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(agents, 5, 4, generator=generator, dtype=torch.float64)


def _slow(passing: MessagePassing, logits: torch.Tensor) -> torch.Tensor:
    """One image, one agent and one edge after the other."""
    states = logits.log_softmax(dim=2).clone()
    agents, images, _ = states.shape
    for _ in range(passing.settings.rounds):
        after = states.clone()
        for image in range(images):
            for receiver in range(agents):
                heard = []
                for sender, target in passing.edges:
                    if target == receiver:
                        said = states[sender, image].clamp(min=-15)
                        message = torch.tanh(said @ passing.encode[sender])
                        predicted = torch.sigmoid(passing.salience(message))
                        heard.append(message * (1 - (1 - passing.settings.m_min) * predicted))
                if heard:
                    mean = sum(heard, torch.zeros(())) / len(heard)
                    after[receiver, image] += mean @ passing.decode[receiver]
        states = after
    return states


TOPOLOGIES: list[Any] = ["complete", "ring", "star", ((0, 1), (2, 1))]


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("m_min", [0.3, 1.0])
def test_as_done_slowly(topology: Any, rounds: int, m_min: float) -> None:
    passing = _passing(topology=topology, rounds=rounds, m_min=m_min)
    logits = _logits()
    # float64, sums of at most four numbers in another order
    torch.testing.assert_close(passing(logits), _slow(passing, logits), rtol=1e-12, atol=1e-12)


def test_topologies() -> None:
    assert MessageSettings(topology="ring").edges(3) == ((0, 1), (1, 2), (2, 0))
    assert MessageSettings(topology="star").edges(3) == ((0, 1), (1, 0), (0, 2), (2, 0))
    assert len(MessageSettings().edges(5)) == 20
    assert MessageSettings(topology="ring").edges(1) == ()


def test_a_team_of_one_hears_nothing() -> None:
    logits = _logits(1)
    assert torch.equal(_passing(agents=1)(logits), logits.log_softmax(dim=2))


def test_new_messages_change_nothing() -> None:
    logits = _logits()
    fresh = MessagePassing(3, 4).double()
    assert torch.equal(fresh(logits), logits.log_softmax(dim=2))


def test_gradients_reach_senders() -> None:
    passing = _passing(topology=((0, 1),))
    logits = _logits().requires_grad_()
    passing(logits)[1, :, 2].sum().backward()
    assert logits.grad is not None
    assert float(logits.grad[0].abs().sum()) > 0
    assert float(logits.grad[2].abs().sum()) == 0
    assert torch.autograd.gradcheck(passing, _logits().requires_grad_())


def test_who_is_missing_says_and_hears_nothing() -> None:
    passing = _passing(rounds=2)
    logits = _logits()
    logits[1] = torch.nan
    states = passing(logits, (0, 2))
    pair = _passing(agents=2, rounds=2)
    with torch.no_grad():
        pair.encode.copy_(passing.encode[[0, 2]])
        pair.decode.copy_(passing.decode[[0, 2]])
    torch.testing.assert_close(states[[0, 2]], pair(logits[[0, 2]]), rtol=1e-12, atol=1e-12)
    assert not bool(states[1].any())


def test_who_says_nan_sends_zeros_and_silences_nobody() -> None:
    passing = _passing()
    logits = _logits()
    logits[1] = torch.nan
    states = passing(logits)
    assert bool(states[[0, 2]].isfinite().all())
    assert bool(states[1].isnan().all())
    assert not bool(passing.sent(logits.log_softmax(dim=2))[[2, 3]].any())
    assert passing.edges[2][0] == passing.edges[3][0] == 1


def test_every_message_is_offered() -> None:
    passing = _passing(rounds=2, m_min=0.4)
    seen: list[MessageRecord] = []
    logits = _logits()
    with passing.register_saliency_mask_hook(seen.append):
        passing(logits)
    passing(logits)
    (record,) = seen
    assert record.edges == passing.edges
    assert record.inputs.shape == record.saliency_mask.shape == (5, 2 * 6, 1, 3)
    first = passing.sent(logits.log_softmax(dim=2))
    assert torch.equal(record.inputs[:, :6, 0], first.transpose(0, 1))
    assert float(record.saliency_mask.min()) >= 0.4
    assert float(record.saliency_mask.max()) <= 1


def test_what_a_hook_raises_leaves() -> None:
    passing = _passing()

    def refuse(record: MessageRecord) -> None:
        raise OSError("the disk is full")

    with passing.register_saliency_mask_hook(refuse), pytest.raises(OSError, match="disk"):
        passing(_logits())


def test_copies_have_no_hooks() -> None:
    passing = _passing()
    seen: list[MessageRecord] = []
    passing.register_saliency_mask_hook(seen.append)
    copy.deepcopy(passing)(_logits())
    assert seen == []


def test_tampered_messages_arrive_and_are_offered() -> None:
    passing = _passing(topology=((0, 1), (2, 1)))
    seen: list[MessageRecord] = []

    def flip(round_number: int, messages: torch.Tensor) -> torch.Tensor:
        return torch.cat([-messages[:1], messages[1:]])

    with passing.register_saliency_mask_hook(seen.append):
        honest, changed = passing(_logits()), passing(_logits(), tampering=flip)
    assert torch.equal(seen[1].inputs[:, 0], -seen[0].inputs[:, 0])
    assert torch.equal(seen[1].inputs[:, 1], seen[0].inputs[:, 1])
    assert torch.equal(honest[[0, 2]], changed[[0, 2]])
    assert not torch.equal(honest[1], changed[1])


def test_a_message_moves_no_further_than_stated() -> None:
    passing = _passing(topology=((0, 1),))
    honest = passing(_logits())
    corner = passing.decode[1].sign().T  # (classes, size): worst message for each class
    reach = passing.decode[1].abs().sum(dim=0)
    for chosen in range(4):
        worst = corner[chosen].expand(1, 5, 3)
        moved = passing(_logits(), tampering=lambda _, __, worst=worst: worst) - honest
        assert bool((moved[1, :, chosen] <= 2 * reach[chosen] + 1e-12).all())  # rounding


@pytest.mark.parametrize("factor", [1.5, float("nan")])
def test_tampering_beyond_what_a_message_is(factor: float) -> None:
    with pytest.raises(InvalidInput, match=r"within \[-1, 1\]"):
        _passing()(_logits(), tampering=lambda _, m: factor * torch.ones_like(m))


def test_a_team_with_messages() -> None:
    agents = [Agent(f"a{i}", LinearModel(seed=i)) for i in range(3)]
    passing = _passing(rounds=2).float()
    team = Team(agents, messages=passing)
    expected = passing(team.agent_logits(IMAGES)).log_softmax(dim=2).mean(dim=0)
    torch.testing.assert_close(team(IMAGES), expected)
    present = torch.tensor([False, True, True])
    assert team.decide(team.agent_logits(IMAGES), present).shape == (5, 4)


@pytest.mark.parametrize(
    "settings",
    [{"size": 0}, {"rounds": 0}, {"rounds": True}, {"m_min": 0.0}, {"m_min": 1.1}],
)
def test_settings_that_are_none(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        MessageSettings(**settings)


@pytest.mark.parametrize("topology", ["tree", ((0, 0),), ((0, 3),), ((0, 1), (0, 1))])
def test_topologies_that_are_none(topology: Any) -> None:
    with pytest.raises(InvalidInput, match="pairs"):
        MessagePassing(3, 4, settings=MessageSettings(topology=topology))


def test_logits_of_another_shape() -> None:
    with pytest.raises(InvalidInput, match=r"expected logits of shape \(3, n, 4\)"):
        MessagePassing(3, 4)(torch.zeros(3, 2, 5))
