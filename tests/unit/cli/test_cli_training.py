"""`fgmf train`: exit codes and words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.testing import CliRunner
from unit.pipeline.recipe_files import RECIPE, written

from fgmf.cli.application import application

if TYPE_CHECKING:
    from pathlib import Path


def test_trains_once(tmp_path: Path) -> None:
    path = written(tmp_path)
    first = CliRunner().invoke(application, ["train", str(path)])
    assert first.exit_code == 0, first.output
    assert first.output.startswith("trained: 10 updates, weights in ")
    second = CliRunner().invoke(application, ["train", str(path)])
    assert (second.exit_code, second.output.partition(":")[0]) == (0, "was trained before")


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
