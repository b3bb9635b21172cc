"""The team-robustness gate from end to end: each outcome for its reason, always the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_models import LinearModel, classify, make_images
from tiny_teams import alike_team, disjoint_team, kindred_team

from fgmf.agents import Agent, MessagePassing, Team
from fgmf.canonical import canonical_json
from fgmf.errors import BudgetSpent, InvalidGateFile
from fgmf.failures import load_failures
from fgmf.gates import RobustnessGate, RunContext, TeamRobustnessGate
from fgmf.reporting import render_details, render_headline
from fgmf.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from pathlib import Path

PASS, FAIL, OPEN, ERROR = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.ERROR
IMAGES = make_images(60, margin=0.02)


def check(
    team: Any = None,
    *,
    context: dict[str, Any] | None = None,
    classifier: dict[str, Any] | None = None,
    labels: Any = None,
    **gate: Any,
) -> Verdict:
    """Check a gate; the labels are what the team says undisturbed."""
    model = kindred_team() if team is None else team
    subject = classify(model, **(classifier or {}))
    if labels is None:
        labels = model(IMAGES).argmax(dim=1)
    settings: dict[str, Any] = {
        "norm": "linf",
        "epsilon": 0.01,
        "min_robust_accuracy": 0.5,
        "agent_steps": 10,
        "suite": "quick",
    }
    return TeamRobustnessGate(**{**settings, **gate}).check(
        subject, IMAGES, labels, context=RunContext(**(context or {}))
    )


def document(verdict: Verdict) -> dict[str, Any]:
    return {key: value for key, value in verdict.as_document().items() if key != "cost"}


@pytest.mark.parametrize(
    ("options", "outcome", "reason"),
    [
        ({"min_robust_accuracy": 0.4}, PASS, "every threshold is met"),
        ({"epsilon": 0.3}, FAIL, "robust_accuracy is below its threshold"),
        ({"min_agent_robust_accuracy": 0.99}, FAIL, "agent_robust_accuracy is below"),
        (
            {"epsilon": 0.05, "max_transfer": 0.01, "min_robust_accuracy": 0.0},
            FAIL,
            "transfer is above its threshold",
        ),
        (
            {"compromised": 1, "min_compromised_accuracy": 0.2},
            FAIL,
            "compromised_accuracy is below its threshold",
        ),
        ({"missing": 2, "min_missing_accuracy": 0.99}, FAIL, "missing_accuracy is below"),
        ({"stale": 2, "min_stale_accuracy": 0.9}, FAIL, "stale_accuracy is below"),
        ({"images": 12, "min_robust_accuracy": 0.8}, OPEN, "more images decide"),
        ({"max_seconds": 1e-9, "min_robust_accuracy": 0.0}, OPEN, "images undecided"),
    ],
)
def test_the_interval_decides(options: dict[str, Any], outcome: Outcome, reason: str) -> None:
    verdict = check(**options)
    assert verdict.outcome is outcome, verdict.reason
    assert reason in verdict.reason
    assert canonical_json(verdict.as_document())
    assert Verdict.from_document(verdict.as_document()) == verdict
    assert render_headline(verdict)
    assert "team: decides by mean-log-probability; attacked through the rule itself" in (
        render_details(verdict)
    )


def test_every_threshold_has_its_condition_and_its_evidence() -> None:
    verdict = check(
        min_clean_accuracy=0.9,
        min_agent_robust_accuracy=0.1,
        max_transfer=1.0,
        compromised=1,
        min_compromised_accuracy=0.0,
        missing=1,
        min_missing_accuracy=0.1,
        stale=1,
        min_stale_accuracy=0.0,
    )
    assert verdict.outcome is PASS, verdict.reason
    assert [condition.quantity for condition in verdict.conditions] == [
        "robust_accuracy",
        "clean_accuracy",
        "agent_robust_accuracy",
        "transfer",
        "compromised_accuracy",
        "missing_accuracy",
        "stale_accuracy",
    ]
    agents: Any = verdict.evidence["team_agents"]
    assert [row["name"] for row in agents] == ["a0", "a1", "a2"]
    transfer = max(
        share for row in agents for name, share in row["transfer"].items() if name != row["name"]
    )
    assert verdict.conditions[3].measured == pytest.approx(transfer)
    faults: Any = verdict.evidence["team_faults"]
    assert [(row["name"], row["worst_case"]) for row in faults] == [
        ("compromised", "exact"),
        ("missing", "exact"),
        ("stale", "searched"),
    ]
    assert [row["accuracy"] for row in faults] == [
        condition.measured for condition in verdict.conditions[4:]
    ]
    lines = render_details(verdict).splitlines()
    assert any(line.startswith("  a0  clean ") and "the team 0." in line for line in lines)
    assert any(line.startswith("  1 compromised, saying anything: 0.000 (exact;") for line in lines)


def test_a_vote_stands_a_liar_and_a_mean_does_not() -> None:
    asked = {"compromised": 1, "min_compromised_accuracy": 0.5, "min_robust_accuracy": 0.0}
    assert check(**asked).outcome is FAIL
    for rule in ("majority", "median", "trimmed-mean"):
        verdict = check(alike_team(rule), **asked)
        assert verdict.outcome is PASS, verdict.reason
        assert verdict.conditions[1].measured == 1.0  # two honest ones who agree


def test_what_an_attack_on_one_agent_breaks_of_the_team_counts() -> None:
    """Alike agents under an attack that finds nothing: the attack on one is one on the team."""
    weak = [{"name": "square", "queries": 1}]
    verdict = check(
        alike_team(), attacks=weak, suite=None, epsilon=0.03, min_robust_accuracy=0.9, images="all"
    )
    agents: Any = verdict.evidence["team_agents"]
    assert verdict.outcome is FAIL
    assert verdict.measured == agents[0]["robust_accuracy"] < 0.9
    assert verdict.evidence["broken_through_agents"] > 5  # type: ignore[operator]


def test_a_liar_beside_an_attack_on_the_others() -> None:
    asked: dict[str, Any] = {"compromised": 1, "min_robust_accuracy": 0.0, "epsilon": 0.02}
    verdict = check(
        kindred_team("median"),
        min_compromised_accuracy=0.0,
        min_compromised_robust_accuracy=0.99,
        **asked,
    )
    assert verdict.outcome is FAIL
    assert "compromised_robust_accuracy is below its threshold" in verdict.reason
    whole, lies, both = verdict.conditions
    assert both.subject == lies.subject == "1 compromised"
    assert both.measured is not None
    assert both.measured < (lies.measured or 0)
    assert both.measured <= (whole.measured or 0)
    faults: Any = verdict.evidence["team_faults"]
    assert [row["worst_case"] for row in faults] == ["exact", "searched"]
    assert "  1 compromised, the others attacked: 0." in render_details(verdict)
    alone = check(kindred_team("median"), min_compromised_robust_accuracy=0.0, **asked)
    assert [c.quantity for c in alone.conditions[1:]] == ["compromised_robust_accuracy"]
    assert alone.conditions[1].measured == both.measured
    late = check(min_compromised_robust_accuracy=0.0, max_seconds=1e-9, **asked)
    assert late.outcome is OPEN
    assert late.conditions[1].measured is None


def test_an_agent_called_team_is_not_taken_for_the_team() -> None:
    members = [Agent(name, LinearModel(3, seed=at)) for at, name in enumerate(["team", "b"])]
    verdict = check(Team(members).eval(), max_transfer=1.0, epsilon=0.05, min_robust_accuracy=0.0)
    agents: Any = verdict.evidence["team_agents"]
    assert [list(row["transfer"]) for row in agents] == [["team", "b", "the team"]] * 2


def test_a_vote_is_attacked_through_stand_ins() -> None:
    """Alike agents vote as one of them decides: the vote is as robust as the one, and no more."""
    options = {"epsilon": 0.02, "min_robust_accuracy": 0.0, "images": "all"}
    labels = LinearModel(3, seed=0)(IMAGES).argmax(dim=1)
    single = RobustnessGate(
        norm="linf", epsilon=0.02, min_robust_accuracy=0.0, images="all", suite="quick"
    ).check(classify(LinearModel(3, seed=0)), IMAGES, labels)
    vote = check(alike_team("majority"), **options)
    assert 0.1 < (single.measured or 0) < 0.9
    assert vote.measured == single.measured
    assert vote.evidence["broken_images"] == single.evidence["broken_images"]
    team: Any = vote.evidence["team"]
    assert team["attacked_through"] == ["mean of log-probabilities", "soft votes", "median"]
    # A plain robustness gate has nothing to follow, and says so.
    plain = RobustnessGate(norm="linf", epsilon=0.02, min_robust_accuracy=0.0, images="all")
    blocked = plain.check(classify(alike_team("majority")), IMAGES, labels)
    assert blocked.outcome is ERROR


def test_a_vote_is_not_saved_by_one_agent_that_is_louder() -> None:
    """The mean spends an L2 budget on the loud agent, and one vote turns nothing; measured: 2."""
    team = disjoint_team("majority")
    loud: Any = team.members[0].model
    with torch.no_grad():
        loud.weight.mul_(6)
        loud.bias.mul_(6)
    verdict = check(team, norm="l2", epsilon=0.35, min_robust_accuracy=0.0, images="all")
    attacks: Any = verdict.evidence["attacks"]
    (median,) = [row for row in attacks if row["parameters"].get("surrogate") == "median"]
    assert median["broken"] > 0  # of those that all others left


def test_two_of_three_that_share_no_pixel_are_turned_together() -> None:
    """Each agent is easy to turn; the attack on the whole must turn two at once, and does."""
    vote = check(disjoint_team("majority"), epsilon=0.15, min_robust_accuracy=0.9)
    agents: Any = vote.evidence["team_agents"]
    assert max(row["robust_accuracy"] for row in agents) < 0.3
    assert vote.outcome is FAIL
    assert (vote.measured or 0) < 0.3
    assert all(row["transfer"]["the team"] < 0.6 for row in agents)


class Broken(LinearModel):
    """NaN where an image is bright at one place."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = images[:, 0, 0, 0] > 0.9
        return super().forward(images).masked_fill(bright[:, None], torch.nan)


def test_what_cannot_be_measured_is_an_error() -> None:
    single = check(LinearModel(3), labels=LinearModel(3)(IMAGES).argmax(dim=1))
    assert single.outcome is ERROR
    assert "expected a model that is an fgmf.agents.Team" in single.reason
    nan = Team([Agent("a", Broken(3, seed=0)), Agent("b", LinearModel(3, seed=0))]).eval()
    labels = LinearModel(3, seed=0)(IMAGES).argmax(dim=1)
    verdict = check(nan, labels=labels, min_robust_accuracy=0.0)
    assert verdict.outcome is ERROR
    few = check(missing=3, min_missing_accuracy=0.0)
    assert few.outcome is ERROR
    assert "from 1 to 2 agents at fault in a team of 3" in few.reason
    silent = check(messages=1, min_messages_accuracy=0.0)
    assert silent.outcome is ERROR
    assert "a team with message passing" in silent.reason


def test_messages_of_a_team_that_sends_some() -> None:
    team = alike_team(messages=MessagePassing(3, 3))
    verdict = check(team, messages=1, min_messages_accuracy=0.9)
    # New message passing changes nothing, whatever is sent.
    assert verdict.conditions[-1].measured == 1.0
    assert verdict.conditions[-1].outcome is PASS


def test_time_that_ran_out_leaves_conditions_open() -> None:
    verdict = check(
        max_seconds=1e-9,
        min_robust_accuracy=0.0,
        max_transfer=1.0,
        min_agent_robust_accuracy=0.0,
        missing=1,
        min_missing_accuracy=0.0,
    )
    assert verdict.outcome is OPEN
    assert [c.outcome for c in verdict.conditions[1:]] == [OPEN] * 3
    assert verdict.evidence["team_agents"] == []


def test_time_that_ran_out_before_agents_were_attacked_is_no_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The only threshold is met end to end, but attacks on single agents count for it too."""

    def late(*_: object, **__: object) -> None:
        raise BudgetSpent("expected more time")

    monkeypatch.setattr("fgmf.gates.team_robustness_check.measure_transfers", late)
    verdict = check(min_robust_accuracy=0.0)
    assert verdict.conditions[0].outcome is PASS
    assert verdict.outcome is OPEN
    assert "60 images undecided" in verdict.reason


@pytest.mark.parametrize("rule", ["mean-log-probability", "majority"])
def test_the_same_seed_gives_the_same_document(rule: str) -> None:
    options: dict[str, Any] = {
        "images": 30,
        "epsilon": 0.03,
        "compromised": 1,
        "min_compromised_accuracy": 0.1,
        "stale": 1,
        "min_stale_accuracy": 0.1,
    }
    documents = []
    for number, batch_size in enumerate([64, 7]):
        torch.manual_seed(number)
        verdict = check(kindred_team(rule), classifier={"batch_size": batch_size}, **options)
        documents.append(document(verdict))
    assert documents[0] == documents[1]


def test_broken_images_are_saved_also_those_of_single_agents(tmp_path: Path) -> None:
    context = {"failures_directory": tmp_path / "failures", "root": tmp_path}
    verdict = check(epsilon=0.1, min_robust_accuracy=0.9, context=context)
    assert verdict.outcome is FAIL
    saved = load_failures(tmp_path / "failures" / "team-robustness")
    assert set(saved.dataset_indices) <= set(verdict.evidence["broken_images"])  # type: ignore[arg-type]
    assert saved.recipe["specification"]["kind"] == "team-robustness"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"compromised": 1}, "min_compromised_accuracy: expected a value together with comprom"),
        ({"min_stale_accuracy": 0.1}, "stale: expected a value together with min_stale_accuracy"),
        ({"min_compromised_robust_accuracy": 0}, "compromised: expected a value together with min"),
        ({"compromised": 0, "min_compromised_accuracy": 0}, "compromised: expected a whole number"),
        ({"max_transfer": 2}, "max_transfer: expected a number <= 1"),
        ({"suite": "best"}, "suite: expected the name of a suite"),
        ({"attacks": ["carlini-wagner"]}, "attacks: expected attacks for norm 'linf'"),
        ({"epsilon": "x"}, "epsilon: expected epsilon as a number"),
    ],
)
def test_a_wrong_specification_says_what_is_allowed(changes: Any, problem: str) -> None:
    valid = {"norm": "linf", "epsilon": 0.1, "min_robust_accuracy": 0.5}
    with pytest.raises(InvalidGateFile) as caught:
        TeamRobustnessGate(**{**valid, **changes})
    assert any(str(p).startswith(problem) for p in caught.value.problems), caught.value.problems
