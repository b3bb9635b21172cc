"""Gates on explanations through the plugin: markers, tables, fixture, the same under xdist."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest

from tests.plugin.test_report import without_cost
from tests.plugin.test_whole_path import FILE, SHOP

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

GATES = """
[[gate]]
name = "maps"
kind = "faithfulness"
explainer = "gradient-times-input"
metrics = [{ name = "deletion", steps = 4 }, { name = "insertion", steps = 4 }]
replacements = ["zero"]
references = ["random", "randomised-model"]
min_margin = -0.5
waive = ["too-few-images"]

[[gate]]
name = "flat"
kind = "faithfulness"
explainer = "gradient-times-input"
metrics = { name = "deletion", steps = 4, max_score = 0.01 }
waive = ["too-few-images"]

[[gate]]
name = "steady"
kind = "explanation-stability"
explainer = "gradient-times-input"
noise = 0.01
min_noise_similarity = 0.2
waive = ["too-few-images"]
"""

TESTS = """
def test_maps(fgmf):
    fgmf.assert_faithful(
        explainer="gradient-times-input", metrics="deletion", min_margin=-0.5,
        waive=["too-few-images"], references=["random"],
    )

def test_steady(fgmf):
    fgmf.assert_explanations_stable(
        explainer="gradient-times-input", noise=0.01, min_noise_similarity=0.2,
        waive=["too-few-images"],
    )

def test_flat(fgmf):
    fgmf.assert_faithful(
        explainer="gradient-times-input", metrics=[{"name": "deletion", "max_score": 0.01}],
        waive=["too-few-images"],
    )

def test_wrong(fgmf):
    fgmf.assert_faithful(explainer="gradient-times-input")
"""


@pytest.fixture
def shop(bare_project: Project) -> Project:
    bare_project.write("shop.py", SHOP)
    bare_project.write("fgmf.toml", FILE + GATES)
    return bare_project


def test_the_markers_select_them_and_workers_agree(shop: Project) -> None:
    plain = shop.run("-m", "faithfulness", "--fgmf-report=json:plain.json", "-W", "error")
    plain.assert_outcomes(passed=1, failed=1, deselected=1)
    plain.stdout.fnmatch_lines(
        [
            "faithfulness: deletion (mean) * > 0.01 allowed (Gradient * of the predicted class; "
            "n=40; 95 %; seed *",
            "mean scores (margin over the reference; images on which it is beaten):",
            "*Deletion (mean; less is better)*",
            "PASS * maps * faithfulness *",
        ]
    )
    shop.run("-m", "explanation_stability").assert_outcomes(passed=1, deselected=2)
    spread = shop.run(
        "-m", "faithfulness", "--fgmf-report=json:spread.json", "--fgmf-batch-size=7", mode="-n2"
    )
    spread.assert_outcomes(passed=1, failed=1)
    first, second = (without_cost(shop.report(f"{name}.json")) for name in ("plain", "spread"))
    for one, other in zip(first["verdicts"], second["verdicts"], strict=True):
        assert one["outcome"] == other["outcome"]
        # Rounding inside the model, which sees other batches.
        assert one["measured"] == pytest.approx(other["measured"], abs=1e-6)


def test_the_fixture_asserts_them(shop: Project) -> None:
    shop.write("test_shop.py", TESTS)
    result = shop.run()
    result.assert_outcomes(passed=2 + 2, failed=1 + 1, errors=1)  # and the gates of the file
    result.stdout.fnmatch_lines(["*invalid gate: metrics: expected a min_margin*"])


def test_the_fixture_knows_every_key_of_both() -> None:
    from fgmf.gates import ExplanationStabilityGate, FaithfulnessGate
    from pytest_fgmf.fixtures import GateFixture

    for method, gate in (
        (GateFixture.assert_faithful, FaithfulnessGate),
        (GateFixture.assert_explanations_stable, ExplanationStabilityGate),
    ):
        known = set(inspect.signature(method).parameters) - {"self"}
        # A test is in one profile, and these gates save no images.
        assert known == set(gate.model_fields) - {"kind", "profiles", "save_failures"}
