"""Agents attacked alone: the exact radius of linear agents, and what reaches the others."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import torch
from tiny_models import LinearModel, classify, keys_of, make_images
from tiny_teams import alike_team, disjoint_team

from fgmf.attacks.projection import inside
from fgmf.errors import BudgetSpent, InvalidInput
from fgmf.team_robustness import Judge, Transfers, measure_transfers
from fgmf.threat import ThreatModel
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from fgmf.agents import Team

IMAGES = make_images(30, margin=0.1)
THREAT = ThreatModel(norm="linf", epsilon=0.05)


def transfers(team: Team, *, batch_size: int = 64, steps: int = 20) -> Transfers:
    classifier = classify(team, batch_size=batch_size)
    with classifier.guard():
        labels = classifier.predict(IMAGES)
        return measure_transfers(
            classifier,
            IMAGES,
            labels,
            threat=THREAT,
            steps=steps,
            keys=keys_of(IMAGES),
            seed=0,
        )


def test_agents_without_a_common_pixel_are_broken_one_by_one() -> None:
    team = disjoint_team()
    found = transfers(team)
    labels = team(IMAGES).argmax(dim=1)
    for at, agent in enumerate(team.members):
        # Closed form: a linear agent falls where a rival is nearer than epsilon times the L1 norm.
        weight, bias = agent.model.weight, agent.model.bias  # type: ignore[union-attr]
        logits = IMAGES.flatten(1) @ weight.T + bias
        lead = logits.gather(1, labels[:, None]) - logits
        reach = THREAT.epsilon * (weight[labels][:, None] - weight[None]).abs().sum(dim=2)
        gap = (lead - reach).detach()
        gap[torch.arange(30), labels] = torch.inf
        certain = gap.abs().amin(dim=1) > 1e-3  # neither side is a matter of rounding
        expected = (gap > 0).all(dim=1)
        assert torch.equal(found.robust_alone[at][certain], expected[certain])
        assert certain.sum() > 25
        for other in set(range(3)) - {at}:
            assert found.counts(at, other)[0] == 0
    assert sum(found.counts(at, at)[0] for at in range(3)) > 10
    for at in range(3):
        assert bool(inside(IMAGES, found.examples[at], THREAT).all())


def test_what_breaks_one_of_several_alike_breaks_all() -> None:
    found = transfers(alike_team())
    for attacked in range(3):
        counts = [found.counts(attacked, other) for other in range(4)]
        assert len(set(counts)) == 1
        assert counts[0][0] > 0
    assert torch.equal(found.breaks_team, ~found.right_after[0, -1] & found.right_before[-1])


def test_the_batch_size_changes_nothing() -> None:
    first, second = transfers(disjoint_team()), transfers(disjoint_team(), batch_size=7)
    assert torch.equal(first.examples, second.examples)
    assert torch.equal(first.right_after, second.right_after)


def test_passes_are_those_of_the_agents_attacked() -> None:
    """Once for what is said; per agent its attack and two looks of the team: nothing more."""
    classifier = classify(disjoint_team())
    with classifier.guard():
        before = classifier.cost_meter.reading()
        labels = torch.zeros(30, dtype=torch.int64)
        options = {"threat": THREAT, "steps": 10, "keys": keys_of(IMAGES), "seed": 0}
        measure_transfers(classifier, IMAGES, labels, **options)  # type: ignore[arg-type]
        cost = classifier.cost_meter.since(before, seconds=0.0)
    assert cost.forward_passes <= 30 * (1 + 3 * (10 + 2 + 2))
    assert cost.backward_passes <= 30 * 3 * 10


def test_time_that_is_up_is_said() -> None:
    classifier = classify(disjoint_team())
    with classifier.guard(), pytest.raises(BudgetSpent):
        measure_transfers(
            classifier,
            IMAGES,
            torch.zeros(30, dtype=torch.int64),
            threat=THREAT,
            steps=3,
            keys=keys_of(IMAGES),
            seed=0,
            deadline=time.monotonic() - 1,
        )


def test_a_single_model_is_no_team() -> None:
    classifier = classify(LinearModel(3))
    with pytest.raises(InvalidInput, match=r"fgmf\.agents\.Team, got LinearModel"):
        measure_transfers(
            classifier, IMAGES, torch.zeros(30), threat=THREAT, steps=1, keys=[], seed=0
        )


def made(before: list[list[int]], after: list[list[list[int]]]) -> Transfers:
    flags = torch.tensor(before).bool()
    return Transfers(
        names=("a", "b"),
        right_before=flags,
        right_after=torch.tensor(after).bool(),
        examples=torch.zeros(2, flags.shape[1], 1, 1, 1),
        predicted=torch.zeros(2, flags.shape[1]),
    )


def test_the_largest_transfer_is_judged_for_all_pairs_at_once() -> None:
    """Of four pairs: intervals at 1 - 0.05 / 4, and the pair that decides is named."""
    right, wrong = [1] * 200, [0] * 200
    found = made([right, right, right], [[wrong, right, right], [wrong, right, right]])
    judge = Judge(confidence=0.95, population_size=None)
    worst = judge.worst_transfer(found, 0.5)
    assert (worst.subject, worst.outcome, worst.measured) == ("b to a", Outcome.FAIL, 1.0)
    assert worst.interval is not None
    assert worst.interval.confidence == pytest.approx(1 - 0.05 / 4)
    calm = made([right, right, right], [[wrong, right, right], [right, right, right]])
    assert judge.worst_transfer(calm, 0.5).outcome is Outcome.PASS
    assert judge.worst_agent(calm, 0.5).subject == "a"
    least = judge.worst_agent(calm, 0.5)
    assert least.outcome is Outcome.FAIL
    assert least.interval is not None
    assert least.interval.confidence == pytest.approx(1 - 0.05 / 2)  # of two agents


def test_a_transfer_to_somebody_who_is_never_right_is_no_evidence() -> None:
    right, wrong = [1] * 200, [0] * 200
    found = made([wrong, right, right], [[wrong, right, right], [wrong, right, right]])
    worst = Judge(confidence=0.95, population_size=None).worst_transfer(found, 0.5)
    assert worst.outcome is Outcome.INCONCLUSIVE
    assert worst.measured is None
