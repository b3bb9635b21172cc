"""`fgmf check` with baselines, and `fgmf compare`, on a real gate of a tiny model."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from fgmf.baselines import load_baseline
from fgmf.reporting import report_schema

GATE = """
[[gate]]
name = "edge"
kind = "robustness"
norm = "linf"
epsilon = 0.19
attacks = ["fgsm"]
images = "all"
min_robust_accuracy = 0.0
"""
LIMIT = ("--compare-fail", "robust_accuracy:2pp")
WORSE = "return Brightness(at + 0.05).eval()"


def _written(shop: Any) -> Any:
    """A repository with one gate and its baseline."""
    shop.write(shop.head, GATE)
    result = shop.run("check", "--update-baseline", "--report", "json:before.json")
    assert result.exit_code == 0, result.output
    return shop.directory / ".fgmf" / "baselines" / "edge.json"


def _worse_model(shop: Any) -> None:
    """The threshold moves towards one class, which then breaks."""
    shop.write_source(shop.source.replace("return Brightness(at).eval()", WORSE))


def test_a_real_gate_makes_a_baseline(shop: Any) -> None:
    path = _written(shop)
    baseline = load_baseline(path)
    assert len(baseline.images.outcomes) == 200
    assert baseline.images.outcomes.count("r") / 200 == baseline.measured
    assert baseline.configuration["epsilon"] == 0.19
    assert baseline.configuration["attacks"][0]["name"] == "fgsm"
    assert not [key for key in baseline.configuration if key.startswith("min_")]
    report = json.loads((shop.directory / "before.json").read_text())
    jsonschema.validate(report, report_schema())
    assert report["verdicts"][0]["evidence"]["images"]["outcomes"] == baseline.images.outcomes


def test_thresholds_and_names_of_people_do_not_make_it_stale(shop: Any) -> None:
    _written(shop)
    text = GATE.replace("0.0", "0.1") + 'confidence = 0.9\nrequired = true\nepsilon = "19/100"\n'
    shop.write(shop.head, text.replace("epsilon = 0.19\n", ""))
    result = shop.run("check", *LIMIT)
    assert result.exit_code == 0, result.output
    assert "within robust_accuracy:2pp; the same model" in result.output


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("epsilon = 0.19", "epsilon = 0.18"),
        ('attacks = ["fgsm"]', 'attacks = [{ name = "fgsm", random_start = false }]'),
        ('attacks = ["fgsm"]', 'attacks = ["fgsm", "pgd"]'),
        ('images = "all"', "images = 100"),
        ('images = "all"', 'images = "all"\npopulation = "dataset"'),
        ('images = "all"', 'images = "all"\ncriterion = "top-k"\ntop_k = 1'),
    ],
)
def test_what_changes_the_measurement_makes_it_stale(shop: Any, before: str, after: str) -> None:
    _written(shop)
    shop.write(shop.head, GATE.replace(before, after))
    result = shop.run("check", *LIMIT)
    assert result.exit_code == 5, result.output
    assert "not compared: edge: stale: other " in result.output
    assert shop.run("check", "--compare").exit_code == 0


def test_a_loss_is_exit_code_1(shop: Any) -> None:
    _written(shop)
    _worse_model(shop)
    assert shop.run("check").exit_code == 0
    shown = shop.run("check", "--compare")
    assert shown.exit_code == 0
    assert "against its baseline  before" in shown.output
    result = shop.run("check", *LIMIT, "--report", "json:now.json")
    assert result.exit_code == 1
    assert "more than robust_accuracy:2pp" in result.output
    report = json.loads((shop.directory / "now.json").read_text())
    jsonschema.validate(report, report_schema())
    assert report["run"]["comparisons"][0]["outcome"] == "fail"


def test_missing_and_unmatched_baselines_are_exit_code_5(shop: Any) -> None:
    path = _written(shop)
    other = path.with_name("robust.json")
    path.rename(other)
    result = shop.run("check", *LIMIT)
    assert result.exit_code == 5
    assert "not compared: edge: no baseline" in result.output
    assert "not compared: robust.json: damaged" in result.output
    assert shop.run("check", "--compare").exit_code == 0


def test_picked_gates_owe_only_their_own(shop: Any) -> None:
    shop.write(shop.head, GATE, shop.passing)
    assert shop.run("check", "--update-baseline").exit_code == 0
    result = shop.run("check", "--gate", "edge", *LIMIT)
    assert result.exit_code == 0, result.output
    assert "not compared: small: unmatched: not among the gates" in result.output


def test_an_undecided_gate_makes_no_baseline(shop: Any) -> None:
    shop.write(shop.head, shop.undecided)
    result = shop.run("check", "--update-baseline")
    assert result.exit_code == 5
    assert "baseline of few NOT written: the gate ended INCONCLUSIVE" in result.output
    assert not (shop.directory / ".fgmf" / "baselines").exists()


def test_ci_writes_no_baselines(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")
    shop.write(shop.head, GATE)
    refused = shop.run("check", "--update-baseline")
    assert refused.exit_code == 2
    assert "variable CI" in refused.output
    assert shop.run("check", "--update-baseline", "--force").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--compare-fail", "2pp"),
        ("--force",),
        ("--baselines", "saved"),
        ("--compare", "--baselines", "fgmf.toml"),
    ],
)
def test_wrong_use_is_exit_code_2(shop: Any, arguments: tuple[str, ...]) -> None:
    shop.write(shop.head, GATE)
    assert shop.run("check", *arguments).exit_code == 2


def test_comparing_two_files(shop: Any) -> None:
    path = _written(shop)
    kept = shop.directory / "kept.json"
    kept.write_bytes(path.read_bytes())
    _worse_model(shop)
    assert shop.run("check", "--update-baseline", "--report", "json:now.json").exit_code == 0
    for before, now in (("kept.json", str(path)), ("before.json", "now.json")):
        result = shop.run("compare", before, now)
        assert result.exit_code == 0, result.output
        assert "newly broken" in result.output
        assert shop.run("compare", before, now, "--fail", "robust_accuracy:2pp").exit_code == 1
        assert shop.run("compare", now, before, "--fail", "robust_accuracy:2pp").exit_code == 0


def test_what_cannot_be_compared_has_its_exit_codes(shop: Any) -> None:
    path = _written(shop)
    assert shop.run("compare", "before.json", "nowhere.json").exit_code == 2
    assert shop.run("compare", "before.json", str(path), "--fail", "2pp").exit_code == 2
    (shop.directory / "cut.json").write_bytes(path.read_bytes()[:100])
    assert shop.run("compare", "before.json", "cut.json").exit_code == 5
    shop.write(shop.head, shop.passing)
    shop.run("check", "--report", "json:other.json")
    result = shop.run("compare", "before.json", "other.json")
    assert result.exit_code == 5
    assert "no gate could be compared" in result.output


def test_a_history_grows_and_is_in_the_report(shop: Any) -> None:
    shop.write(shop.head, GATE)
    options = ("check", "--history", "history.jsonl", "--report", "json:r.json")
    assert shop.run(*options).exit_code == 0
    result = shop.run(*options, "--report", "html:r.html")
    assert result.exit_code == 0, result.output
    assert "history: history.jsonl" in result.output
    report = json.loads((shop.directory / "r.json").read_text())
    jsonschema.validate(report, report_schema())
    assert len(report["run"]["history"]) == 2
    assert "edge over 2 runs" in (shop.directory / "r.html").read_text()
    path = shop.directory / "history.jsonl"
    path.write_text(path.read_text()[:-5])
    result = shop.run(*options)
    assert result.exit_code == 5
    assert "line 2: cut off" in result.output
    source = shop.directory / "notes.txt"
    source.write_text("")
    assert shop.run("check", "--history", "notes.txt").exit_code == 2
    assert source.read_text() == ""
