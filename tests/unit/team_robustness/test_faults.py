"""Agents at fault against closed forms, brute force, and lies at random."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import keys_of, make_images
from tiny_teams import alike_team, disjoint_team

from fgmf.agents import MessagePassing, MessageSettings
from fgmf.agents.rules import Majority, TrimmedMean
from fgmf.errors import InvalidInput
from fgmf.team_robustness import with_compromised, with_messages, with_missing, with_stale

MONOTONE = ["mean-log-probability", "weighted", "majority", "median", "trimmed-mean"]


def opinions(
    agents: int, images: int, classes: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Agents that see the label, more or less."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (images,), generator=generator)
    said = torch.randn(agents, images, classes, generator=generator)
    said[:, torch.arange(images), labels] += 1.5
    return said, labels


def lied(team: Any, said: torch.Tensor, labels: torch.Tensor, who: Any, lie: Any) -> torch.Tensor:
    lying = said.clone()
    lying[list(who)] = lie
    right: torch.Tensor = team.decide(lying).argmax(dim=1) == labels
    return right


@given(st.sampled_from(MONOTONE), st.integers(3, 5), st.integers(1, 2), st.integers(0, 10**6))
def test_no_lie_at_random_is_worse_than_the_exact_worst_case(
    rule: str, agents: int, count: int, seed: int
) -> None:
    team = disjoint_team(rule, agents)
    said, labels = opinions(agents, 12, 3, seed)
    fault = with_compromised(team, said, labels, count=count)
    assert fault.exact
    generator = torch.Generator().manual_seed(seed + 1)
    for who in combinations(range(agents), count):
        exact = fault.right_by_agents[", ".join(f"a{at}" for at in who)]
        for scale in (1.0, 10.0, 1e3):
            lie = scale * torch.randn(count, 12, 3, generator=generator)
            assert not bool((exact & ~lied(team, said, labels, who, lie)).any())
        for nothing in (torch.nan, -torch.inf, 0.0):
            assert not bool((exact & ~lied(team, said, labels, who, nothing)).any())
    everywhere = torch.stack(list(fault.right_by_agents.values())).all(dim=0)
    assert torch.equal(fault.right, everywhere)


@given(st.sampled_from(MONOTONE), st.integers(0, 10**6))
def test_the_worst_case_is_one_that_a_lie_brings_about(rule: str, seed: int) -> None:
    """Searched anew, with single classes pushed up and down at random: every flag is reached."""
    team = disjoint_team(rule, 3)
    said, labels = opinions(3, 12, 3, seed)
    fault = with_compromised(team, said, labels, count=1)
    for who in range(3):
        found = torch.ones(12, dtype=torch.bool)
        for first in range(3):
            for second in range(3):
                lie = torch.zeros(1, 12, 3)
                lie[:, :, first] += 500.0
                lie[:, :, second] -= 500.0
                found &= lied(team, said, labels, [who], lie)
        assert torch.equal(found, fault.right_by_agents[f"a{who}"])


def test_nan_is_a_lie_of_rules_that_may_do_anything() -> None:
    """A rule that is deaf to every number of the second agent, and gives up where it says NaN."""

    class GivingUp(torch.nn.Module):
        def forward(self, said: torch.Tensor, members: Any) -> torch.Tensor:
            if len(members) < 3 or not bool(said.isnan().any()):
                return said[0]
            return -said[0]

    team = disjoint_team()
    team.rule = GivingUp()
    said = torch.zeros(3, 4, 3)
    said[0, :, 1] = 5.0
    fault = with_compromised(team, said, torch.ones(4, dtype=torch.int64), count=1)
    assert not fault.exact
    assert not bool(fault.right_by_agents["a1"].any())


def test_one_liar_decides_where_the_rule_is_a_mean() -> None:
    said, labels = opinions(3, 40, 3, 0)
    for rule in ("mean-log-probability", "weighted"):
        assert not bool(with_compromised(disjoint_team(rule), said, labels, count=1).right.any())
    strong = 300.0 * said  # however sure the honest ones are
    assert not bool(with_compromised(disjoint_team(), strong, labels, count=1).right.any())


@pytest.mark.parametrize("count", [1, 2])
def test_a_vote_is_lost_where_the_honest_lead_is_too_small(count: int) -> None:
    """Closed form: votes of the honest, all liars for the rival, ties to the lowest class."""
    said, labels = opinions(5, 60, 3, 1)
    fault = with_compromised(disjoint_team("majority", 5), said, labels, count=count)
    votes = said.argmax(dim=2)
    expected = []
    for image, label in enumerate(labels.tolist()):
        safe = True
        for who in combinations(range(5), count):
            honest = [int(votes[at, image]) for at in range(5) if at not in who]
            own = honest.count(label)
            for rival in {0, 1, 2} - {label}:
                theirs = honest.count(rival) + count
                safe &= own > theirs or (own == theirs and label < rival)
        expected.append(safe)
    assert fault.right.tolist() == expected
    assert 0 < int(fault.right.sum()) < 60


def test_the_median_of_three_lies_between_the_two_honest_ones() -> None:
    """Closed form: the label has the lower of two honest scores, the rival the higher."""
    said, labels = opinions(3, 60, 3, 2)
    log_p = said.log_softmax(dim=2)
    rows = torch.arange(60)
    for rule in ("median", "trimmed-mean"):
        fault = with_compromised(disjoint_team(rule), said, labels, count=1)
        for liar in range(3):
            honest = log_p[[at for at in range(3) if at != liar]]
            low, high = honest.amin(dim=0)[rows, labels], honest.amax(dim=0)
            high[rows, labels] = -torch.inf
            assert torch.equal(fault.right_by_agents[f"a{liar}"], low > high.amax(dim=1))
        assert 0 < int(fault.right.sum()) < 60


def test_what_is_not_monotone_is_searched_and_says_so() -> None:
    said, labels = opinions(3, 20, 3, 3)
    learned = with_compromised(disjoint_team("learned"), said, labels, count=1)
    assert not learned.exact
    messages = MessagePassing(3, 3, settings=MessageSettings(size=4))
    assert not with_compromised(alike_team(messages=messages), said, labels, count=1).exact
    assert with_compromised(disjoint_team(Majority()), said, labels, count=1).exact
    assert with_compromised(disjoint_team(TrimmedMean(trim=1)), said, labels, count=1).exact


@pytest.mark.parametrize("rule", [*MONOTONE, "learned"])
def test_the_others_decide_where_agents_are_missing(rule: str) -> None:
    team = disjoint_team(rule, 4)
    said, labels = opinions(4, 30, 3, 4)
    fault = with_missing(team, said, labels, count=2)
    for who in combinations(range(4), 2):
        present = torch.tensor([at not in who for at in range(4)])
        expected = team.decide(said, present).argmax(dim=1) == labels
        assert torch.equal(fault.right_by_agents[", ".join(f"a{at}" for at in who)], expected)


def test_late_agents_speak_of_another_image() -> None:
    team = disjoint_team("majority")
    said, labels = opinions(3, 30, 3, 5)
    keys = [f"k{at}" for at in range(30)]
    fault = with_stale(team, said, labels, count=1, keys=keys, seed=0)
    again = with_stale(team, said, labels, count=1, keys=keys, seed=0)
    assert torch.equal(fault.right, again.right)
    # All say the same of every image: to be late then changes nothing.
    same = said[:, :1].expand(-1, 30, -1).contiguous()
    whole = team.decide(same).argmax(dim=1) == labels
    assert torch.equal(with_stale(team, same, labels, count=2, keys=keys, seed=0).right, whole)
    # Two of three late: the vote is about the other image, which mostly has another label.
    both = with_stale(team, said, labels, count=2, keys=keys, seed=0).right
    assert both.float().mean() < 0.5 < fault.right.float().mean()


def test_messages_are_attacked_in_teams_that_send_some() -> None:
    passing = MessagePassing(3, 3, settings=MessageSettings(size=4))
    with torch.no_grad():
        passing.decode.normal_(generator=torch.Generator().manual_seed(0)).mul_(3.0)
    team = alike_team(messages=passing)
    images = make_images(20)
    said = team.agent_logits(images).detach()
    labels = team.decide(said).argmax(dim=1)
    options: dict[str, Any] = {"count": 1, "keys": keys_of(images), "seed": 0}
    fault = with_messages(team, said, labels, **options)
    assert not fault.exact
    assert int(fault.right.sum()) < 20
    with pytest.raises(InvalidInput, match="message passing"):
        with_messages(alike_team(), said, labels, **options)


@pytest.mark.parametrize("count", [0, 3, 7])
def test_somebody_must_be_left(count: int) -> None:
    said, labels = opinions(3, 4, 3, 0)
    with pytest.raises(InvalidInput, match="from 1 to 2 agents at fault"):
        with_missing(disjoint_team(), said, labels, count=count)


def test_scores_that_are_no_numbers_decide_nothing() -> None:
    said, labels = opinions(3, 4, 3, 0)
    said[0, 0] = torch.nan
    fault = with_missing(disjoint_team(), said, labels, count=1)
    assert not bool(fault.right[0])
