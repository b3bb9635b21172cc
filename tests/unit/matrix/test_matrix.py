"""The benchmark matrix: cells are what they are called, and holes in a table are shown."""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from fgmf.cli.application import application
from fgmf.datasets import digits
from fgmf.errors import InvalidGateFile
from fgmf.gatefile import load_gate_file
from fgmf.matrix import (
    collect,
    differences,
    read_matrix,
    render_plot,
    render_runs,
    render_summary,
    summarise,
    summary_document,
    write_run,
)
from fgmf.matrix.cells import toml_of
from fgmf.pipeline.loading import load_recipe_file
from fgmf.verdict import Outcome, Verdict

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "matrix.md").read_text()
(DOCUMENTED,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SMALL = """
schema = 1
output = "cells"
seeds = [0, 4]
backbones = ["cnn"]
defences = ["standard", { name = "n-fgsm", noise = 0.5 }]
[threats.linf]
norm = "linf"
epsilon = "1/10"
[recipe.data]
factory = "fgmf.datasets:digits"
images = 200
[recipe.model]
arguments = { widths = [4], hidden = 8 }
[recipe.schedule]
epochs = 1
batch_size = 50
[model]
bounds = [0, 1]
device = "cpu"
[data]
factory = "fgmf.datasets:digits"
[[gate]]
name = "robust"
kind = "robustness"
attacks = ["fgsm"]
images = 60
min_robust_accuracy = 0.0
waive = ["clean-accuracy-at-chance"]
"""


def matrix_in(directory: Path, text: str = SMALL) -> Path:
    path = directory / "matrix.toml"
    path.write_text(text)
    return path


def run(*arguments: str) -> Any:
    return CliRunner().invoke(application, ["matrix", *arguments])


def test_the_documented_file_gives_valid_recipes_and_gates(tmp_path: Path) -> None:
    matrix = read_matrix(matrix_in(tmp_path, DOCUMENTED))
    assert len(matrix.cells) == 12
    for cell in matrix.cells:
        assert [run.seed for run in cell.runs] == [1, 2, 3]
        recipe, gates = write_run(matrix, cell, cell.runs[1])
        assert load_recipe_file(recipe)
        gate = load_gate_file(gates, profile="default").gates[0]
        assert gate.norm == matrix.threats[cell.threat]["norm"]  # type: ignore[attr-defined]
        tables = tomllib.loads(recipe.read_text())
        assert tables["seed"] == 2
        assert tables["model"]["backbone"] == cell.backbone
        assert tables["defence"]["name"] == cell.defence
        budget = tables["defence"].get("epsilon")
        assert budget == (
            None if cell.defence == "standard" else {"linf": 0.1, "l2": 0.1}[cell.threat]
        )


@pytest.mark.parametrize("place", ["docs", "benchmarks"])
def test_the_factors_of_tox_are_the_cells(tmp_path: Path, place: str) -> None:
    if place == "docs":
        (text,) = re.findall(r"^```ini\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        path = matrix_in(tmp_path, DOCUMENTED)
    else:
        text = (ROOT / "benchmarks" / "matrix" / "tox.ini").read_text()
        path = ROOT / "benchmarks" / "matrix" / "matrix.toml"
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    factors = [f.split(",") for f in re.findall(r"\{([^}]+)\}", parser["tox"]["env_list"])]
    names = {f"{a}-{b}-{c}" for a in factors[0] for b in factors[1] for c in factors[2]}
    assert names == {cell.name for cell in read_matrix(path).cells}
    assert parser["testenv"]["commands"].endswith("fgmf matrix run matrix.toml {env_name}")


def test_a_matrix_is_trained_gated_and_collected(tmp_path: Path) -> None:
    path = str(matrix_in(tmp_path))
    assert run("list", path).stdout.split() == ["cnn-standard-linf", "cnn-n-fgsm-linf"]
    done = run("run", path, "cnn-standard-linf")
    assert done.exit_code == 0, done.stdout + done.stderr
    holes = run("table", path)
    assert holes.exit_code == 5
    assert "missing: cnn-n-fgsm-linf seed 0, cnn-n-fgsm-linf seed 4" in holes.stderr
    assert run("run", path, "cnn-n-fgsm-linf").exit_code == 0
    whole = run("table", path)
    assert whole.exit_code == 0
    rows = [line for line in whole.stdout.splitlines() if line.startswith("| cnn")]
    summary, compared, single = rows[:2], rows[2:-4], rows[-4:]
    assert [row.split(" | ")[1:4] for row in summary] == [
        ["standard", "linf", "2"],
        ["n-fgsm", "linf", "2"],
    ]
    assert all("| n-fgsm |" in row and re.search(r"\[[+-]\d", row) for row in compared)
    assert all(re.search(r"\| robust \| PASS \| \d\.\d+ \[", row) for row in single)
    assert (tmp_path / "cells" / "matrix.md").read_text() == whole.stdout
    drawn = ET.parse(tmp_path / "cells" / "robust.svg")  # noqa: S314 - our own
    assert len([e for e in drawn.iter() if e.tag.endswith("circle")]) == 4
    document = json.loads((tmp_path / "cells" / "matrix.json").read_text())
    values = document["cells"][1]["values"]
    assert {"clean", "robust", "negative curvature", "time per epoch", "peak MiB"} == set(values)
    assert values["robust"].keys() == {"0", "4"}
    assert values["time per epoch"]["0"] > 0.0
    assert document["cells"][0]["values"]["time per epoch"] == {"0": 1.0, "4": 1.0}


def test_what_is_whole_is_not_made_again(tmp_path: Path) -> None:
    path = matrix_in(tmp_path)
    matrix = read_matrix(path)
    assert run("run", str(path), "cnn-standard-linf").exit_code == 0
    first, second = matrix.cell("cnn-standard-linf").runs
    kept = first.report.stat().st_mtime_ns
    second.report.write_text(second.report.read_text() + " ")  # not the report of the record
    assert [bool(each.missing) for each in collect(matrix)[0].runs] == [False, True]
    again = run("run", str(path), "cnn-standard-linf")
    assert again.stdout.startswith("seed 0 was measured before\n")
    assert "seed 4 was measured before" not in again.stdout
    assert first.report.stat().st_mtime_ns == kept
    matrix_in(tmp_path, SMALL.replace("images = 60", "images = 61"))
    assert "measured before" not in run("run", str(path), "cnn-standard-linf").stdout
    assert first.report.stat().st_mtime_ns != kept


def test_masking_verdicts_are_counted(tmp_path: Path) -> None:
    matrix = read_matrix(matrix_in(tmp_path))
    cells = []
    for result, outcomes in zip(collect(matrix), ("pass pass", "fail pass"), strict=True):
        runs = [
            replace(
                run,
                missing="",
                verdicts=(
                    Verdict(
                        gate="masking",
                        kind="gradient-masking",
                        outcome=Outcome(outcome),
                        reason="",
                        measured=0.1,
                        evidence={"clean_accuracy": 0.1},
                    ),
                    Verdict(
                        gate="robust",
                        kind="robustness",
                        outcome=Outcome.PASS,
                        reason="",
                        measured=0.5,
                        evidence={"clean_accuracy": 0.9},
                    ),
                ),
            )
            for run, outcome in zip(result.runs, outcomes.split(), strict=True)
        ]
        cells.append(replace(result, runs=tuple(runs)))
    rows = summarise(matrix, cells)
    document = json.loads(summary_document(rows, differences(matrix, rows), "standard"))
    assert [cell["outcomes"] for cell in document["cells"]] == [
        {"masking": {"PASS": 2}},
        {"masking": {"FAIL": 1, "PASS": 1}},
    ]
    assert [set(row.values["clean"].values()) for row in rows] == [{0.9}, {0.9}]
    table = render_summary(rows, [], "standard")
    assert table.splitlines()[0].endswith("| seeds | clean | robust | masking |")
    assert table.splitlines()[3].endswith(
        "| 2 | 0.900 (0.900-0.900) | 0.500 (0.500-0.500) | 1 FAIL, 1 PASS |"
    )


def test_time_is_that_of_the_reference_with_the_same_seed(tmp_path: Path) -> None:
    matrix = read_matrix(matrix_in(tmp_path))
    results = [
        replace(
            result,
            runs=tuple(
                replace(run, missing="", measures={"epoch_cpu_seconds": each})
                for run, each in zip(result.runs, seconds, strict=True)
            ),
        )
        for result, seconds in zip(collect(matrix), ((2.0, 4.0), (6.0, 6.0)), strict=True)
    ]
    ratios = [dict(row.values["time per epoch"]) for row in summarise(matrix, results)]
    assert ratios == [{0: 1.0, 4: 1.0}, {0: 3.0, 4: 1.5}]


def test_what_lies_beyond_the_line_is_not_called_unmeasured(tmp_path: Path) -> None:
    result = collect(read_matrix(matrix_in(tmp_path)))[0]
    verdicts = [
        Verdict(gate="margin", kind="faithfulness", outcome=Outcome.PASS, reason="", measured=value)
        for value in (-0.25, 0.5)
    ]
    runs = tuple(
        replace(run, missing="", verdicts=(verdict,))
        for run, verdict in zip(result.runs, verdicts, strict=True)
    )
    drawn = render_plot([replace(result, runs=runs)], gate="margin")
    assert "beyond the line: -0.250" in drawn
    assert "not measured" not in drawn
    assert drawn.count("<circle") == 1
    half = (replace(runs[0], verdicts=()), runs[1])
    assert "not measured" in render_plot([replace(result, runs=half)], gate="margin")


def test_differences_are_paired_by_seed(tmp_path: Path) -> None:
    """t(2, 97.5 %) is 4.3027: of .1, .2, .3 the mean is .2 +- 4.3027 * .1 / sqrt(3)."""
    three = SMALL.replace("seeds = [0, 4]", "seeds = [1, 2, 3, 9]")
    matrix = read_matrix(matrix_in(tmp_path, three))
    rows = summarise(matrix, collect(matrix))
    assert [set(row.missing) for row in rows] == [{1, 2, 3, 9}] * 2
    for row, values in zip(
        rows,
        ({1: 0.4, 2: 0.5, 3: 0.6, 9: 0.0}, {3: 0.9, 1: 0.5, 2: 0.7}),
        strict=True,
    ):
        object.__setattr__(row, "values", {"robust": values, "time per epoch": {1: 2.0}})
    (found,) = differences(matrix, rows)
    assert (found.defence, found.column, found.seeds) == ("n-fgsm", "robust", (3, 1, 2))
    assert found.mean == pytest.approx(0.2)
    assert (found.lower, found.upper) == pytest.approx((-0.0484, 0.4484), abs=1e-4)


def test_paths_are_meant_from_the_matrix_file(tmp_path: Path) -> None:
    text = SMALL.replace('factory = "fgmf.datasets:digits"', 'path = "data.npz"')
    matrix = read_matrix(matrix_in(tmp_path, text))
    for path in write_run(matrix, matrix.cells[0], matrix.cells[0].runs[0]):
        assert tomllib.loads(path.read_text())["data"]["path"] == str(tmp_path / "data.npz")


def test_other_images_at_the_same_path_are_another_run(tmp_path: Path) -> None:
    def write(count: int) -> None:
        found = digits("train")
        kept = {"images": found.images[:count], "labels": found.labels[:count].to(torch.int32)}
        np.savez(tmp_path / "data.npz", **{name: value.numpy() for name, value in kept.items()})

    text = SMALL.replace("seeds = [0, 4]", "seeds = [0]")
    first, _, second = text.rpartition('factory = "fgmf.datasets:digits"')
    path = str(matrix_in(tmp_path, f'{first}path = "data.npz"{second}'))
    write(100)
    done = run("run", path, "cnn-standard-linf")
    assert done.exit_code == 0, done.stdout + done.stderr
    assert "measured before" in run("run", path, "cnn-standard-linf").stdout
    record = read_matrix(Path(path)).cells[0].runs[0].record
    measures = json.loads(record.read_text())["measures"]
    assert {"peak_mib", "negative_share"} < measures.keys()
    write(101)
    again = run("run", path, "cnn-standard-linf").stdout
    assert "measured before" not in again
    assert "was trained before" in again
    measures = json.loads(record.read_text())["measures"]
    assert "peak_mib" not in measures  # this process did not train


def test_factories_lie_beside_the_matrix_file(tmp_path: Path) -> None:
    (tmp_path / "matrix_shop.py").write_text(
        "from fgmf import datasets\ndef some(): return datasets.digits()\n"
    )
    text = SMALL.replace('factory = "fgmf.datasets:digits"', 'factory = "matrix_shop:some"')
    done = run("run", str(matrix_in(tmp_path, text)), "cnn-standard-linf")
    assert done.exit_code == 0, done.stdout + done.stderr


def test_a_cell_that_failed_again_leaves_no_old_report(tmp_path: Path) -> None:
    matrix = read_matrix(matrix_in(tmp_path))
    report = matrix.cells[0].runs[0].report
    report.parent.mkdir(parents=True)
    report.write_text("old")
    broken = matrix_in(tmp_path, SMALL.replace("epochs = 1", "epochs = 0"))
    assert run("run", str(broken), "cnn-standard-linf").exit_code == 4
    assert not report.exists()


def test_damaged_reports_are_holes(tmp_path: Path) -> None:
    matrix = read_matrix(matrix_in(tmp_path))
    for one in (each for cell in matrix.cells for each in cell.runs):
        one.directory.mkdir(parents=True)
        one.report.write_text("{<script>")
    results = collect(matrix)
    assert all(result.missing for result in results)
    table = render_runs(results)
    assert table.count("MISSING") == 4
    assert "<script>" not in table + render_plot(results, gate="<script>")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "schema"),
        ("schema = [", "(the whole file)"),
        (SMALL.replace("[0, 4]", "[]"), "seeds"),
        (SMALL.replace("[0, 4]", "[4, 4]"), "seeds"),
        (SMALL.replace("seeds = [0, 4]", 'reference = "pgd"'), "reference"),
        (SMALL.replace('["cnn"]', "[]"), "backbones"),
        (SMALL.replace('["cnn"]', "[3]"), "backbones"),
        (SMALL.replace('"standard"', "3"), "defences"),
        (SMALL.replace('"standard"', '"n-fgsm"'), "defences: expected each name once"),
        (SMALL.replace('["cnn"]', '["cnn", "cnn"]'), "backbones: expected each name once"),
        (SMALL.replace("[threats.linf]", '[threats."../linf"]'), "threats: expected names without"),
        (SMALL.replace('norm = "linf"\n', "", 1), "threats"),
        (SMALL.replace('norm = "linf"', 'norm = "l2"'), "threats"),
        (SMALL.replace("[recipe.", "[other."), "recipe"),
        (SMALL.replace("[[gate]]", "[[gates]]"), "gate"),
    ],
)
def test_a_broken_file_says_where(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(InvalidGateFile, match=re.escape(where)):
        read_matrix(matrix_in(tmp_path, text))


def test_an_unknown_cell_is_refused(tmp_path: Path) -> None:
    done = run("run", str(matrix_in(tmp_path)), "vit-standard-linf")
    assert done.exit_code == 4
    assert "cnn-standard-linf" in done.stderr


PLAIN = st.one_of(
    st.booleans(), st.integers(-(2**53), 2**53), st.text(st.characters(codec="utf-8"), max_size=8)
)
VALUES = st.one_of(PLAIN, st.lists(PLAIN, max_size=3))
TABLES = st.dictionaries(st.text(min_size=1, max_size=6), VALUES, max_size=3)


@given(st.dictionaries(st.text(min_size=1, max_size=6), st.one_of(VALUES, TABLES), max_size=4))
def test_what_is_written_as_toml_is_read_back(tables: dict[str, Any]) -> None:
    assert tomllib.loads(toml_of(tables)) == tables
