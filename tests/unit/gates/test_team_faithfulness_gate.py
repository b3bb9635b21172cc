"""Explanations of teams: fused maps and disagreement in closed form, and the gate on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import LinearModel, classify, keys_of, make_images
from tiny_teams import alike_team, disjoint_team, kindred_team

from fgmf.attribution.building import explainer
from fgmf.canonical import canonical_json
from fgmf.errors import InvalidGateFile, InvalidInput
from fgmf.gates import RunContext, TeamFaithfulnessGate
from fgmf.reporting import render_details, render_headline
from fgmf.team_faithfulness import FusedExplainer, compare_agents, explain_agents, fuse
from fgmf.verdict import Outcome, Verdict

PASS, FAIL, OPEN, ERROR = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.ERROR
IMAGES = make_images(30, margin=0.02)


def check(
    team: Any = None,
    *,
    classifier: dict[str, Any] | None = None,
    labels: Any = None,
    **gate: Any,
) -> Verdict:
    model = kindred_team() if team is None else team
    subject = classify(model, **(classifier or {}))
    if labels is None:
        labels = model(IMAGES).argmax(dim=1)
    settings: dict[str, Any] = {
        "explainer": "gradient-times-input",
        "metrics": ({"name": "deletion", "min_margin": -0.5},),
        "references": ("random",),
    }
    return TeamFaithfulnessGate(**{**settings, **gate}).check(
        subject, IMAGES, labels, context=RunContext()
    )


def explained(team: Any, name: str = "gradient-times-input") -> list[Any]:
    classifier = classify(team)
    targets = classifier.predict(IMAGES)
    return explain_agents(
        explainer(name), classifier, IMAGES, targets, keys=keys_of(IMAGES), seed=0
    )


def test_a_fused_map_is_the_mean_of_scaled_ones() -> None:
    maps = torch.tensor([[[[2.0, -4.0]]], [[[0.0, 1.0]]], [[[0.0, 0.0]]]])
    assert fuse(maps).tolist() == [[[pytest.approx(0.5 / 3), 0.0]]]
    team = kindred_team()
    classifier, singles = classify(team), explained(team)
    targets = classifier.predict(IMAGES)
    fused = FusedExplainer(explainer=explainer("gradient-times-input")).explain(
        classifier, IMAGES, targets, keys=keys_of(IMAGES), seed=0
    )
    assert torch.equal(fused.maps, fuse(torch.stack([one.maps for one in singles])))
    assert fused.cost.backward_passes == 3 * len(IMAGES)


def test_disagreement_is_the_mean_distance_of_ranks() -> None:
    from scipy.stats import spearmanr

    singles = explained(kindred_team())
    found = compare_agents(("a", "b", "c"), singles)
    for at in range(3):
        flat = [one.maps[at].flatten().numpy() for one in singles]
        pairs = [(0, 1), (0, 2), (1, 2)]
        expected = np.mean([(1 - spearmanr(flat[i], flat[j])[0]) / 2 for i, j in pairs])
        assert float(found.scores[at]) == pytest.approx(expected)
    assert found.disagreement.shape == found.fused.shape == (30, 8, 8)


def test_alike_agents_agree_and_agents_without_a_common_pixel_do_not() -> None:
    alike = compare_agents(("a", "b", "c"), explained(alike_team()))
    assert float(alike.scores.abs().max()) < 1e-9  # rank correlations of 1, rounded
    assert float(alike.disagreement.max()) < 1e-6  # float32 maps, scaled
    apart = compare_agents(("a", "b", "c"), explained(disjoint_team()))
    assert float(apart.scores.min()) > 0.3
    only = explained(alike_team())[:1]
    with pytest.raises(InvalidInput, match="at least two agents"):
        compare_agents(("a",), only)


def test_a_map_that_ranks_nothing_agrees_with_nobody() -> None:
    singles = explained(alike_team(agents=2))
    singles[1].maps[0] = 0.0
    found = compare_agents(("a", "b"), singles)
    assert float(found.scores[0]) == 0.5
    assert float(found.scores[1:].abs().max()) < 1e-9


@pytest.mark.parametrize(
    ("options", "outcome", "reason"),
    [
        ({}, PASS, "every threshold is met"),
        ({"metrics": ({"name": "deletion", "min_margin": 0.9},)}, FAIL, "deletion_margin is below"),
        ({"max_disagreement": 0.001}, FAIL, "disagreement is above its threshold"),
        ({"max_disagreement": 0.5}, PASS, "every threshold is met"),
        ({"max_seconds": 1e-9}, OPEN, "images undecided"),
    ],
)
def test_the_interval_decides(options: dict[str, Any], outcome: Outcome, reason: str) -> None:
    verdict = check(**options)
    assert verdict.outcome is outcome, verdict.reason
    assert reason in verdict.reason
    assert canonical_json(verdict.as_document())
    assert Verdict.from_document(verdict.as_document()) == verdict
    assert render_headline(verdict)


def test_fused_maps_and_each_agent_have_their_conditions() -> None:
    verdict = check(max_disagreement=1.0)
    assert [(c.quantity, c.subject) for c in verdict.conditions] == [
        ("deletion_margin", "fused, mean"),
        ("deletion_margin", "agent a0, mean"),
        ("deletion_margin", "agent a1, mean"),
        ("deletion_margin", "agent a2, mean"),
        ("disagreement", ""),
    ]
    assert len(verdict.conditions) == 5
    assert len(check(each_agent=False).conditions) == 1
    details = render_details(verdict)
    assert "fused: " in details
    assert "agent a1: " in details
    maps: Any = verdict.evidence["team_maps"]
    assert maps["agents"] == ["a0", "a1", "a2"]
    assert maps["disagreement"] == pytest.approx(sum(maps["scores"]) / 30)
    assert verdict.conditions[-1].measured == maps["disagreement"]


def test_pictures_show_every_agent_and_none_are_made_of_confidential_images() -> None:
    drawn: Any = check(pictures=1).evidence["pictures"]
    assert drawn[0]["title"] == "Agents"
    assert check(pictures=0).evidence["pictures"] == []
    assert check(save_failures=False).evidence["pictures"] == []


def test_a_vote_is_explained_through_its_agents() -> None:
    verdict = check(alike_team("majority"))
    assert verdict.outcome is PASS, verdict.reason


def test_the_batch_size_changes_nothing() -> None:
    first, second = (check(classifier={"batch_size": size}) for size in (64, 7))
    one, other = first.as_document(), second.as_document()
    assert one | {"cost": None} == other | {"cost": None}


def test_a_single_model_is_an_error() -> None:
    verdict = check(LinearModel(3), labels=LinearModel(3)(IMAGES).argmax(dim=1))
    assert verdict.outcome is ERROR
    assert "fgmf.agents.Team" in verdict.reason


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"max_disagreement": 1.5}, "max_disagreement: expected a number <= 1"),
        ({"explainer": "guess"}, "explainer.name: expected the name of an explainer"),
        ({"metrics": []}, "metrics: expected at least 1 entries"),
    ],
)
def test_a_wrong_specification_says_what_is_allowed(changes: Any, problem: str) -> None:
    valid = {"explainer": "pgca", "min_margin": 0.0}
    with pytest.raises(InvalidGateFile) as caught:
        TeamFaithfulnessGate(**{**valid, **changes})
    assert any(str(p).startswith(problem) for p in caught.value.problems), caught.value.problems
