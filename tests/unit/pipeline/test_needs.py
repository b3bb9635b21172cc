"""What a training needs is missed before its images are loaded, or told."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from unit.pipeline.recipe_files import RECIPE, written

from fgmf.errors import MissingDependency
from fgmf.pipeline.building import build_samples
from fgmf.pipeline.loading import load_recipe_file
from fgmf.pipeline.running import TrainingRequest, run_training

if TYPE_CHECKING:
    from pathlib import Path


def test_tensorboard_is_missed_before_the_images_are_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    nowhere = RECIPE.replace("fgmf.datasets:digits", "fgmf.datasets:no_such_images")
    plan = load_recipe_file(written(tmp_path, nowhere + "tensorboard = true\n"))
    with pytest.raises(MissingDependency, match="tensorboard"):
        run_training(plan)


def test_fewer_images_than_asked_for_are_told(tmp_path: Path) -> None:
    plan = load_recipe_file(written(tmp_path, RECIPE.replace("images = 120", "images = 1349")))
    told: list[str] = []
    samples = build_samples(plan, told.append)
    assert len(samples) == 1348
    assert told == ["data.images asks for 1349 images, there are 1348; all are trained on"]


def test_as_many_images_as_there_are_need_no_word(tmp_path: Path) -> None:
    plan = load_recipe_file(written(tmp_path, RECIPE.replace("images = 120", "images = 1348")))
    assert len(build_samples(plan, pytest.fail)) == 1348


def test_a_training_tells_who_asked_for_it(tmp_path: Path) -> None:
    text = RECIPE.replace("images = 120", "images = 9000").replace(
        "batch_size = 24", "batch_size = 1800"
    )
    told: list[str] = []
    run_training(load_recipe_file(written(tmp_path, text)), TrainingRequest(notify=told.append))
    assert told[0].startswith("data.images asks for 9000 images, there are 1348")
