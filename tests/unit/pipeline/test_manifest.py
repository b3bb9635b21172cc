"""What makes a training the one that it is, so that another one never goes on from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from unit.pipeline.recipe_files import RECIPE, written

from fgmf.datasets import Samples
from fgmf.errors import StaleEvidence
from fgmf.pipeline.building import build_model, build_samples
from fgmf.pipeline.loading import load_recipe_file
from fgmf.pipeline.manifest import check_same, identity_of
from fgmf.pipeline.networks import ImageFacts

if TYPE_CHECKING:
    from pathlib import Path


def identity(folder: Path, changed: str = "") -> dict[str, str]:
    """Of the small recipe, with one thing other than usual."""
    text = RECIPE.replace("epochs = 2", "epochs = 3") if changed == "recipe" else RECIPE
    if changed == "output":
        text = text.replace('output = "out"', 'output = "elsewhere"')
    plan = load_recipe_file(written(folder, text))
    samples = build_samples(plan, pytest.fail)
    images, labels = samples.images.clone(), samples.labels.clone()
    if changed == "images":
        images[3, 0, 2, 2] += 0.01
    if changed == "labels":
        labels[[0, 1]] = labels[[1, 0]]
    model = build_model(plan, ImageFacts.of(samples))
    if changed == "first weights":
        with torch.no_grad():
            next(model.parameters()).mul_(2)
    teacher = "sha256:other" if changed == "teacher" else ""
    return identity_of(plan, Samples(images=images, labels=labels), model, teacher)


@pytest.mark.parametrize("changed", ["recipe", "images", "labels", "first weights", "teacher"])
def test_each_part_counts_and_is_named(changed: str, tmp_path: Path) -> None:
    usual, other = identity(tmp_path), identity(tmp_path, changed)
    assert [name for name in usual if usual[name] != other[name]] == [changed]
    with pytest.raises(StaleEvidence, match=f"differs in {changed};"):
        check_same(usual, other, tmp_path)


def test_where_it_writes_does_not_count(tmp_path: Path) -> None:
    assert identity(tmp_path) == identity(tmp_path, "output")
    check_same(identity(tmp_path), identity(tmp_path, "output"), tmp_path)


@pytest.mark.parametrize("lacking", ["kept", "own"])
def test_what_only_one_of_both_knows_is_another(lacking: str, tmp_path: Path) -> None:
    """A manifest of an older or newer release, which looked at less or more."""
    whole = {"recipe": "a", "images": "b"}
    part = {"recipe": "a"}
    pair = (part, whole) if lacking == "kept" else (whole, part)
    with pytest.raises(StaleEvidence, match="differs in images"):
        check_same(*pair, tmp_path)
