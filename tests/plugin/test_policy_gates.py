"""Policy gates through the plugin: no `[data]`, an environment, the same under xdist."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.test_report import without_cost

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

SHOP = """
import torch
from fgmf.agents import Agent, Team, View
from fgmf.policies import Gridworld, ImitationPlan, JointPlanner, imitate

def world(horizon=6):
    return Gridworld(layout=("..", ".."), agent_count=1, horizon=horizon)

def team():
    torch.manual_seed(0)
    layers = [torch.nn.Flatten(), torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 5)]
    made = Team([Agent("one", torch.nn.Sequential(*layers), view=View(channels=(0, 1, 2, 3)))])
    plan = ImitationPlan(rounds=3, episodes=60, epochs=40, batch_size=32)
    imitate(made, world(), JointPlanner(world()), plan)
    return made
"""
FILE = """
schema = 1
[model]
factory = "shop:team"
bounds = [0, 1]

[[gate]]
name = "calm"
kind = "policy-return"
environment = "shop:world"
epsilon = 0.001
min_return = 0.5
episodes = 40

[[gate]]
name = "storm"
kind = "policy-return"
environment = "shop:world"
environment_arguments = { horizon = 5 }
epsilon = 0.9
min_return = 0.5
episodes = 40
"""


@pytest.fixture
def shop(bare_project: Project) -> Project:
    bare_project.write("shop.py", SHOP)
    bare_project.write("fgmf.toml", FILE)
    return bare_project


def test_episodes_take_the_place_of_images_and_workers_agree(shop: Project) -> None:
    plain = shop.run("-m", "policy_return", "--fgmf-report=json:plain.json", "-W", "error")
    plain.assert_outcomes(passed=1, failed=1)
    plain.stdout.fnmatch_lines(
        [
            "policy-return: 0.* < 0.50 required (worst of action flip, least likely action, *",
            "return by attack:",
            "  worst reachable action *success *changed *",
            "PASS * calm * policy-return *",
        ]
    )
    spread = shop.run("--fgmf-report=json:spread.json", "--fgmf-batch-size=7", mode="-n2")
    spread.assert_outcomes(passed=1, failed=1)
    assert without_cost(shop.report("plain.json")) == without_cost(shop.report("spread.json"))


def test_a_gate_in_a_test_needs_no_data_either(shop: Project) -> None:
    shop.write(
        "test_team.py",
        """
        from fgmf.gates import PolicyReturnGate

        def test_return(fgmf):
            world = "shop:world"
            gate = PolicyReturnGate(environment=world, epsilon=0.001, min_return=0.5, episodes=40)
            fgmf.assert_gate(gate)
        """,
    )
    shop.run("test_team.py", "-k", "test_return").assert_outcomes(passed=1)


def test_another_gate_on_the_model_still_needs_data(shop: Project) -> None:
    more = '[[gate]]\nkind = "corruption"\nmin_corruption_accuracy = 0.5\n'
    shop.write("fgmf.toml", FILE + more)
    result = shop.run()
    result.stderr.fnmatch_lines(["*data: expected a table [[]data[]] with `factory` or `path`*"])
