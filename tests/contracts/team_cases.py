"""How public functions on teams that take a classifier are run: the model is two agents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from tiny_models import keys_of, make_images

from fgmf.agents import Agent, Team
from fgmf.attribution.building import explainer
from fgmf.gates import RunContext, TeamFaithfulnessGate, TeamRobustnessGate
from fgmf.gates.team_faithfulness_check import check_team_faithfulness
from fgmf.gates.team_robustness_check import check_team_robustness
from fgmf.team_faithfulness import FusedExplainer, explain_agents
from fgmf.team_robustness import measure_transfers, said_by_agents, team_of
from fgmf.team_robustness.climbing import most_wrong
from fgmf.team_robustness.lying import with_compromised_attacked
from fgmf.threat import ThreatModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.classifier import Classifier

IMAGES = make_images(6, margin=0.05)
LABELS = torch.arange(6) % 3
GATE = TeamRobustnessGate(
    norm="linf",
    epsilon=0.2,
    min_robust_accuracy=0.0,
    attacks=("pgd",),
    agent_steps=2,
    missing=1,
    min_missing_accuracy=0.0,
    waive=("clean-accuracy-at-chance", "normalisation-missing", "too-few-images"),
    inconclusive="pass",
)


def _team(classifier: Classifier) -> Classifier:
    module: Any = classifier.module
    team = Team([Agent("one", module), Agent("two", module)])
    team.training = module.training
    return classifier.around(team)


def _transfers(classifier: Classifier) -> None:
    around = _team(classifier)
    with around.guard():
        measure_transfers(
            around,
            IMAGES,
            LABELS,
            threat=ThreatModel(norm="linf", epsilon=0.2),
            steps=2,
            keys=keys_of(IMAGES),
            seed=0,
        )


def _said(classifier: Classifier) -> None:
    around = _team(classifier)
    with around.guard():
        said_by_agents(around, IMAGES)
        team_of(around)


def _most_wrong(classifier: Classifier) -> None:
    with classifier.guard():
        most_wrong(
            classifier,
            IMAGES,
            LABELS,
            name="one",
            threat=ThreatModel(norm="linf", epsilon=0.2),
            steps=2,
            keys=keys_of(IMAGES),
            seed=0,
        )


def _lied_to(classifier: Classifier) -> None:
    around = _team(classifier)
    with around.guard():
        with_compromised_attacked(
            around,
            IMAGES,
            LABELS,
            count=1,
            threat=ThreatModel(norm="linf", epsilon=0.2),
            steps=2,
            keys=keys_of(IMAGES),
            seed=0,
        )


MAPS = TeamFaithfulnessGate(
    explainer="gradient",
    metrics=({"name": "deletion", "max_score": 1.0},),
    waive=("clean-accuracy-at-chance", "normalisation-missing", "too-few-images"),
)
MANY, MANY_LABELS = make_images(12, margin=0.05), torch.arange(12) % 3


def _explained(classifier: Classifier) -> None:
    around, method = _team(classifier), explainer("gradient")
    explain_agents(method, around, IMAGES, LABELS)
    FusedExplainer(explainer=method).explain(around, IMAGES, LABELS)


TEAM_CASES: dict[str, Callable[[Classifier], object]] = {
    "fgmf.gates.team_robustness.TeamRobustnessGate.check": lambda c: GATE.check(
        _team(c), IMAGES, LABELS
    ),
    "fgmf.gates.team_robustness_check.check_team_robustness": lambda c: check_team_robustness(
        GATE, _team(c), IMAGES, LABELS, RunContext()
    ),
    "fgmf.gates.team_faithfulness.TeamFaithfulnessGate.check": lambda c: MAPS.check(
        _team(c), MANY, MANY_LABELS
    ),
    "fgmf.gates.team_faithfulness_check.check_team_faithfulness": lambda c: check_team_faithfulness(
        MAPS, _team(c), MANY, MANY_LABELS, RunContext()
    ),
    "fgmf.team_faithfulness.fusing.FusedExplainer.explain": _explained,
    "fgmf.team_faithfulness.fusing.explain_agents": _explained,
    "fgmf.team_robustness.asking.said_by_agents": _said,
    "fgmf.team_robustness.climbing.most_wrong": _most_wrong,
    "fgmf.team_robustness.lying.with_compromised_attacked": _lied_to,
    "fgmf.team_robustness.transferring.measure_transfers": _transfers,
}
NOT_TEAMWORK = {
    "fgmf.gates.faithfulness_check.FaithfulnessCheck.__init__",  # values only
    "fgmf.gates.faithfulness_check.FaithfulnessCheck.compared",  # inside the check's guard
    "fgmf.gates.team_robustness_evidence.evidence_of_team",  # run by the gate's check
    "fgmf.team_robustness.asking.team_of",  # looks at its class
}
