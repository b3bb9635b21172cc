"""Team gates through the plugin: marker, tables, evidence, the same under xdist."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.test_report import without_cost
from tests.plugin.test_whole_path import SHOP

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

FILE = """
schema = 1
seed = 5
[model]
factory = "shop:team"
bounds = [0, 1]
[data]
factory = "shop:data"

[[gate]]
name = "liars"
kind = "team-robustness"
norm = "linf"
epsilon = 0.001
min_robust_accuracy = 0.5
compromised = 1
min_compromised_accuracy = 0.5
missing = 1
min_missing_accuracy = 0.5
images = "all"
population = "dataset"
suite = "quick"
agent_steps = 5

[[gate]]
name = "far"
kind = "team-robustness"
norm = "linf"
epsilon = 0.3
min_robust_accuracy = 0.5
max_transfer = 0.1
images = "all"
population = "dataset"
suite = "quick"
agent_steps = 5
"""
TEAM = """

def team():
    from fgmf.agents import Agent, Team

    return Team([Agent(n, model(b)) for n, b in (("a", 8), ("b", 7.8), ("c", 8.2))], "majority")
"""


@pytest.fixture
def shop(bare_project: Project) -> Project:
    bare_project.write("shop.py", SHOP + TEAM)
    bare_project.write("fgmf.toml", FILE)
    return bare_project


def test_the_marker_selects_them_and_workers_agree(shop: Project) -> None:
    plain = shop.run("-m", "team_robustness", "--fgmf-report=json:plain.json", "-W", "error")
    plain.assert_outcomes(passed=1, failed=1)
    plain.stdout.fnmatch_lines(
        [
            "team-robustness: 0.* (exact) < 0.50 required (*",
            "team: decides by majority; attacked through mean of log-*, soft votes, median",
            "agents, each attacked alone *",
            "  a  clean *, robust *; breaks b *, c *, the team *",
            "counterexamples: .fgmf/failures/far: broken.png, examples.npz, repro.json *",
            "PASS * liars * team-robustness *",
        ]
    )
    spread = shop.run("--fgmf-report=json:spread.json", "--fgmf-batch-size=7", mode="-n2")
    spread.assert_outcomes(passed=1, failed=1)
    assert without_cost(shop.report("plain.json")) == without_cost(shop.report("spread.json"))


def test_saved_images_are_replayed(shop: Project) -> None:
    shop.run("-m", "team_robustness")
    again = shop.run("--fgmf-replay=.fgmf/failures/far", "--fgmf-report=json:report.json")
    again.assert_outcomes(failed=1)
    (verdict,) = shop.report()["verdicts"]
    assert (verdict["gate"], verdict["kind"], verdict["measured"]) == ("far", "replay", 0.0)


def test_explanations_of_a_team_are_gated_and_drawn(shop: Project) -> None:
    gate = """
[[gate]]
kind = "team-faithfulness"
explainer = "gradient-times-input"
metrics = [{ name = "deletion", max_score = 1.0 }]
max_disagreement = 0.5
images = 20
"""
    shop.write("fgmf.toml", FILE.partition("[[gate]]")[0] + gate)
    result = shop.run("-m", "team_faithfulness", "--fgmf-report=html:report.html", "-W", "error")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["PASS * team-faithfulness * team-faithfulness *"])
    assert "Agents" in (shop.path / "report.html").read_text()
