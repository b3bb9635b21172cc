"""Agents that answer nonsense, and rules that hide their gradient: never a quiet PASS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from fgmf.agents import RULES, Agent, Team
from fgmf.gates import GradientMaskingGate, RobustnessGate, TeamRobustnessGate
from fgmf.team_robustness import with_compromised, with_missing, with_stale
from fgmf.verdict import Outcome, Verdict
from tests.tiny_models import LinearModel, classify, keys_of, make_images
from tests.tiny_teams import kindred_team

if TYPE_CHECKING:
    from collections.abc import Sequence

IMAGES = make_images(40, margin=0.02)
WAIVED = ("clean-accuracy-at-chance", "normalisation-missing", "too-few-images")
LABELS = kindred_team()(IMAGES).argmax(dim=1)


class Faulty(LinearModel):
    """Right but for one fault."""

    def __init__(self, fault: str) -> None:
        super().__init__(3, seed=0)
        self.fault = fault

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        said = super().forward(images)
        if self.fault == "fewer classes":
            return said[:, :2]
        if self.fault == "fewer images":
            return said[1:] if len(said) > 1 else said
        if self.fault == "NaN off the data":
            known = (images[:, None] == IMAGES[None]).flatten(2).all(dim=2).any(dim=1)
            return said.where(known[:, None], torch.nan)
        if self.fault == "NaN here and there":
            return said.masked_fill((images[:, 0, 0, 0] > 0.8)[:, None], torch.nan)
        return said + {"NaN": torch.nan, "infinity": torch.inf}[self.fault]


def _team(fault: str, rule: str) -> Team:
    honest = kindred_team().members[:2]
    return Team([*honest, Agent("z", Faulty(fault))], rule).eval()


def _judged(team: Team, **options: Any) -> Verdict:
    asked: dict[str, Any] = {
        "norm": "linf",
        "epsilon": 0.01,
        "min_robust_accuracy": 0.0,
        "images": "all",
        "suite": "quick",
        "agent_steps": 3,
        "waive": WAIVED,
    }
    return TeamRobustnessGate(**{**asked, **options}).check(classify(team), IMAGES, LABELS)


@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize(
    "fault",
    ["NaN", "infinity", "NaN here and there", "NaN off the data", "fewer classes", "fewer images"],
)
def test_a_team_with_an_agent_that_answers_nonsense_is_not_measured(rule: str, fault: str) -> None:
    """Whatever the rule makes of it: thresholds of 0 would let every measurement pass."""
    verdict = _judged(
        _team(fault, rule),
        compromised=1,
        min_compromised_accuracy=0.0,
        missing=1,
        min_missing_accuracy=0.0,
        stale=1,
        min_stale_accuracy=0.0,
    )
    assert verdict.outcome is Outcome.ERROR, verdict.reason


@pytest.mark.parametrize("rule", ["median", "trimmed-mean", "learned", "majority"])
def test_rules_that_stand_nan_decide_by_the_others(rule: str) -> None:
    """And no gate on the whole says more of them than an attack on the others finds."""
    said = kindred_team(rule).agent_logits(IMAGES).detach()
    said[2] = torch.nan
    team = kindred_team(rule)
    scores = team.decide(said)
    assert bool(scores.isfinite().all())
    others: Sequence[int] = said[:2].argmax(dim=2).unbind(0)  # type: ignore[assignment]
    agree = others[0] == others[1]
    assert torch.equal(scores.argmax(dim=1)[agree], others[0][agree])
    all_silent = team.decide(torch.full_like(said, torch.nan))
    assert rule == "majority" or bool(all_silent.isnan().all())


@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize("nonsense", [torch.nan, torch.inf, -torch.inf])
def test_answers_that_are_no_numbers_count_as_wrong_or_as_missing(
    rule: str, nonsense: float
) -> None:
    """Of an honest agent that broke down: never better than without it, and never a PASS for it."""
    team = kindred_team(rule)
    said = team.agent_logits(IMAGES).detach()
    said[2] = nonsense
    keys = keys_of(IMAGES)
    with_it = [
        with_compromised(team, said, LABELS, count=1).right_by_agents["a2"],
        with_missing(team, said, LABELS, count=1).right_by_agents["a2"],
    ]
    # Its own answers are not read where it lies, or is missing.
    sound = team.agent_logits(IMAGES).detach()
    expected = [
        with_compromised(team, sound, LABELS, count=1).right_by_agents["a2"],
        with_missing(team, sound, LABELS, count=1).right_by_agents["a2"],
    ]
    assert torch.equal(with_it[1], expected[1])
    assert not bool((with_it[0] & ~expected[0]).any())
    late = with_stale(team, said, LABELS, count=1, keys=keys, seed=0).right
    if rule in {"mean-log-probability", "weighted"}:
        assert not bool(late.any())
    missing = with_missing(team, said, LABELS, count=2).right_by_agents["a0, a1"]
    assert rule == "majority" or not bool(missing.any())


class Hides(nn.Module):
    """The mean of log-probabilities, whose gradient is hidden in one of several ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, log_probabilities: torch.Tensor, members: Sequence[int]) -> torch.Tensor:
        del members
        mean = log_probabilities.mean(dim=0)
        if self.how == "one-hot":
            return nn.functional.one_hot(mean.argmax(dim=1), mean.shape[1]).to(mean)
        if self.how == "rounded":
            return (3 * mean).round()
        if self.how == "detached":
            return mean.detach()
        if self.how == "zero":
            return mean.detach() + 0 * mean
        return mean.detach() - 1e-3 * (mean - mean.detach())  # turned round


@pytest.mark.parametrize("how", ["one-hot", "rounded", "detached", "zero", "turned"])
def test_a_rule_of_ones_own_that_hides_its_gradient_is_found(how: str) -> None:
    team = Team(kindred_team().members, Hides(how)).eval()
    assert _judged(team).outcome is Outcome.ERROR
    plain = RobustnessGate(
        norm="linf", epsilon=0.01, min_robust_accuracy=0.0, images="all", waive=WAIVED
    )
    assert plain.check(classify(team), IMAGES, LABELS).outcome is Outcome.ERROR


@pytest.mark.parametrize("how", ["one-hot", "turned"])
def test_the_masking_gate_sees_through_a_rule_of_ones_own(how: str) -> None:
    team = Team(kindred_team().members, Hides(how)).eval()
    gate = GradientMaskingGate(norm="linf", epsilon=0.05, images="all", waive=WAIVED)
    verdict = gate.check(classify(team), IMAGES, LABELS)
    assert verdict.outcome is Outcome.FAIL, verdict.reason
    assert "masked" in verdict.reason


class PretendsToBeAMedian(nn.Module):
    """As a rule of a user's: believes the last agent alone."""

    def forward(self, log_probabilities: torch.Tensor, members: Sequence[int]) -> torch.Tensor:
        del members
        return log_probabilities[-1]


def test_a_rule_of_ones_own_is_never_called_exact() -> None:
    from fgmf.agents.rules import Median

    class Lopsided(Median):
        def forward(self, log_probabilities: torch.Tensor, members: Sequence[int]) -> torch.Tensor:
            return PretendsToBeAMedian()(log_probabilities, members)

    team = Team(kindred_team().members, Lopsided()).eval()
    found = with_compromised(team, team.agent_logits(IMAGES).detach(), LABELS, count=1)
    assert not found.exact
    assert not bool(found.right_by_agents["a2"].any())
    assert bool(found.right_by_agents["a0"].any())


@pytest.mark.parametrize("rule", ["mean-log-probability", "median", "learned"])
def test_the_team_gate_says_no_more_than_the_gate_on_the_same_module(rule: str) -> None:
    """Same attacks, same seed: whatever breaks the module breaks the team."""
    team = kindred_team(rule)
    shared: dict[str, Any] = {
        "norm": "linf",
        "epsilon": 0.02,
        "min_robust_accuracy": 0.0,
        "images": "all",
        "suite": "quick",
        "seed": 3,
        "waive": WAIVED,
    }
    plain = RobustnessGate(**shared).check(classify(team), IMAGES, LABELS)
    whole = _judged(team, epsilon=0.02, seed=3)
    plain_broken: Any = plain.evidence["broken_images"]
    whole_broken: Any = whole.evidence["broken_images"]
    assert set(plain_broken) <= set(whole_broken)
    assert 0 < len(plain_broken) < 40
    assert (whole.measured or 0) <= (plain.measured or 0)
