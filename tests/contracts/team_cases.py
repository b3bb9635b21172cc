"""How public functions on teams that take a classifier are run: the model is two agents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from tiny_models import keys_of, make_images

from fgmf.agents import Agent, Team
from fgmf.gates import RunContext, TeamRobustnessGate
from fgmf.gates.team_robustness_check import check_team_robustness
from fgmf.team_robustness import measure_transfers, said_by_agents, team_of
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


TEAM_CASES: dict[str, Callable[[Classifier], object]] = {
    "fgmf.gates.team_robustness.TeamRobustnessGate.check": lambda c: GATE.check(
        _team(c), IMAGES, LABELS
    ),
    "fgmf.gates.team_robustness_check.check_team_robustness": lambda c: check_team_robustness(
        GATE, _team(c), IMAGES, LABELS, RunContext()
    ),
    "fgmf.team_robustness.asking.said_by_agents": _said,
    "fgmf.team_robustness.transferring.measure_transfers": _transfers,
}
NOT_TEAMWORK = {
    "fgmf.gates.team_robustness_evidence.evidence_of_team",  # run by the gate's check
    "fgmf.team_robustness.asking.team_of",  # looks at its class
}
