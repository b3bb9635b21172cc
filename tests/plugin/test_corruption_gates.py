"""Corruption gates through the plugin: marker, table, evidence, the same under xdist."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.test_report import without_cost
from tests.plugin.test_whole_path import FILE, SHOP

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

GATES = """
[[gate]]
name = "noise"
kind = "corruption"
min_corruption_accuracy = 0.5
corruptions = ["gaussian-noise", "impulse-noise"]
severities = [1, 2]
images = "all"
population = "dataset"

[[gate]]
name = "weather"
kind = "corruption"
min_corruption_accuracy = 0.9
min_mean_corruption_accuracy = 0.9
corruptions = ["brightness", "contrast"]
images = "all"
population = "dataset"

[[gate]]
name = "attacked"
kind = "robustness"
norm = "linf"
epsilon = 0.001
min_robust_accuracy = 0.5
images = "all"
attacks = ["fgsm"]
"""


@pytest.fixture
def shop(bare_project: Project) -> Project:
    bare_project.write("shop.py", SHOP)
    bare_project.write("fgmf.toml", FILE + GATES)
    return bare_project


def test_the_marker_selects_them_and_workers_agree(shop: Project) -> None:
    plain = shop.run("-m", "corruption", "--fgmf-report=json:plain.json", "-W", "error")
    plain.assert_outcomes(passed=1, failed=1, deselected=1)
    plain.stdout.fnmatch_lines(
        [
            "corruption: 0.* (exact) < 0.90 required (worst of brightness, contrast at severities "
            "1, 3; n=40 of 40; *",
            "accuracy by corruption (by severity):",
            "*brightness * (1: *, 3: *); broke *",
            "counterexamples: .fgmf/failures/weather: broken.png, examples.npz, repro.json *",
            "PASS * noise * corruption *",
        ]
    )
    spread = shop.run(
        "-m", "corruption", "--fgmf-report=json:spread.json", "--fgmf-batch-size=7", mode="-n2"
    )
    spread.assert_outcomes(passed=1, failed=1)
    assert without_cost(shop.report("plain.json")) == without_cost(shop.report("spread.json"))


def test_saved_corrupted_images_are_replayed(shop: Project) -> None:
    shop.run("-m", "corruption")
    again = shop.run("--fgmf-replay=.fgmf/failures/weather", "--fgmf-report=json:report.json")
    again.assert_outcomes(failed=1)
    (verdict,) = shop.report()["verdicts"]
    assert (verdict["gate"], verdict["kind"], verdict["measured"]) == ("weather", "replay", 0.0)
