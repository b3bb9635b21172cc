"""An attack on a team of n agents costs what n attacks on its agents cost: passes are counted."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tiny_models import classify, make_images
from tiny_teams import kindred_team

from fgmf.gates import RobustnessGate, TeamRobustnessGate
from fgmf.team_robustness import OneAlone

if TYPE_CHECKING:
    from torch import nn

    from fgmf.agents import Team

IMAGES = make_images(40, margin=0.02)
TINY = 1e-6
"""Breaks nothing: every attack goes to its end on every image, for teams and agents alike."""


def watched(team: Team) -> Counter[str]:
    """Count the images that go through each agent, forward and backward."""
    passes: Counter[str] = Counter()

    def count(name: str) -> None:
        def forward(module: nn.Module, given: tuple[object, ...], output: object) -> None:
            rows = output.shape[0]  # type: ignore[attr-defined]
            passes[f"{name} forward"] += rows
            if output.requires_grad:  # type: ignore[attr-defined]
                output.register_hook(lambda _: passes.update({f"{name} backward": rows}))  # type: ignore[attr-defined]

        agent.model.register_forward_hook(forward)

    for agent in team.members:
        count(agent.name)
    return passes


@pytest.mark.parametrize("agents", [1, 3, 5])
@pytest.mark.parametrize("suite", ["quick", "standard"])
def test_a_suite_on_a_team_costs_what_it_costs_on_its_agents(suite: str, agents: int) -> None:
    team = kindred_team(agents=agents)
    labels = team(IMAGES).argmax(dim=1)
    gate = RobustnessGate(
        norm="linf",
        epsilon=TINY,
        min_robust_accuracy=0.5,
        suite=suite,
        waive=("epsilon-tiny",),
    )
    passes = watched(team)
    assert gate.check(classify(team), IMAGES, labels).measured == 1.0
    whole = passes.total()
    passes.clear()
    for at in range(agents):
        alone = OneAlone(team, at).eval()
        own = gate.check(classify(alone), IMAGES, classify(alone).predict(IMAGES))
        assert own.measured >= 0.95  # a label may be a matter of rounding
    # What labels each agent's images is no part of its attack.
    singles = passes.total() - agents * len(IMAGES)
    assert singles > 0
    assert whole <= 1.1 * singles


def test_the_gate_adds_one_attack_on_each_agent_and_a_few_looks() -> None:
    """Beyond the suite: agent_steps forwards and backwards of each agent alone, and 9 looks."""
    team = kindred_team()
    labels = team(IMAGES).argmax(dim=1)
    passes = watched(team)
    plain = RobustnessGate(
        norm="linf",
        epsilon=TINY,
        min_robust_accuracy=0.5,
        suite="quick",
        waive=("epsilon-tiny",),
    )
    assert plain.check(classify(team), IMAGES, labels).measured == 1.0
    before = passes.total()
    passes.clear()
    verdict = TeamRobustnessGate(
        norm="linf",
        waive=("epsilon-tiny",),
        epsilon=TINY,
        min_robust_accuracy=0.5,
        suite="quick",
        agent_steps=10,
        compromised=1,
        min_compromised_accuracy=0.0,
        missing=2,
        min_missing_accuracy=0.0,
    ).check(classify(team), IMAGES, labels)
    assert verdict.measured == 1.0
    more = passes.total() - before
    assert more > 0
    attack, looks = 3 * (2 * 10 + 2), 3 * (1 + 2 * 3 + 1)
    assert more <= len(IMAGES) * (attack + looks)
