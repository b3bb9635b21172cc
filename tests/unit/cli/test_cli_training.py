"""`fgmf train`: exit codes and words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import torch
from typer.testing import CliRunner
from unit.pipeline.recipe_files import RECIPE, written

from fgmf.cli.application import application
from fgmf.pipeline import trained_model

if TYPE_CHECKING:
    from pathlib import Path


def test_trains_once(tmp_path: Path) -> None:
    path = written(tmp_path)
    first = CliRunner().invoke(application, ["train", str(path)])
    assert first.exit_code == 0, first.output
    assert first.output.startswith("trained: 10 updates, weights in ")
    second = CliRunner().invoke(application, ["train", str(path)])
    assert (second.exit_code, second.output.partition(":")[0]) == (0, "was trained before")


def test_several_processes_write_one_training(tmp_path: Path) -> None:
    """Under torchrun: one set of files, one line, and the same again without training."""
    path = written(tmp_path, RECIPE.replace('"scor-pio-2"', '"amo"').replace("every = 2\n", ""))
    launcher = ("torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m")
    command = [sys.executable, "-m", *launcher, "fgmf", "train", str(path)]
    for word in ("trained", "was trained before"):
        done = subprocess.run(
            command,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [word]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [each["processes"] for each in manifest["sessions"]] == [2]
    rows = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == 10 + 2
    assert trained_model(str(tmp_path / "out"))(torch.rand(2, 1, 8, 8)).shape == (2, 10)


def test_a_broken_recipe(tmp_path: Path) -> None:
    path = written(tmp_path, RECIPE.replace("epochs = 2", "epochs = 0"))
    done = CliRunner().invoke(application, ["train", str(path)])
    assert done.exit_code == 4
    assert "schedule.epochs: expected a whole number >= 1, got 0" in done.output


def test_another_training_in_the_directory(tmp_path: Path) -> None:
    CliRunner().invoke(application, ["train", str(written(tmp_path))])
    other = written(tmp_path, RECIPE.replace("seed = 7", "seed = 8"))
    done = CliRunner().invoke(application, ["train", str(other)])
    assert (done.exit_code, "--restart" in done.output) == (5, True)
    assert CliRunner().invoke(application, ["train", str(other), "--restart"]).exit_code == 0
