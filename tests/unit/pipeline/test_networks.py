"""Networks of recipe files: their own sizes, models of users for images that are no squares."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from unit.pipeline.recipe_files import RECIPE, written

from fgmf.datasets import Samples
from fgmf.errors import InvalidInput, InvalidRecipeFile
from fgmf.mask_log import LogOutcome, VerifySettings, verify_log
from fgmf.pipeline import trained_model
from fgmf.pipeline.loading import load_recipe_file
from fgmf.pipeline.networks import ImageFacts
from fgmf.pipeline.running import run_training

if TYPE_CHECKING:
    from pathlib import Path

MODEL = 'backbone = "cnn"\narguments = { widths = [4], hidden = 8 }'
WIDE = """
import torch
from sklearn.datasets import load_digits

def images():
    found = load_digits()
    pixels = torch.from_numpy(found.images).float()[:120, None] / 16
    return pixels[:, :, :, 2:7], torch.from_numpy(found.target[:120]).long()

def net():
    return torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Linear(4 * 8 * 5, 10))
"""


def _wide(folder: Path, model: str, *more: str) -> Path:
    path = written(
        folder,
        RECIPE.replace(MODEL, model).replace("fgmf.datasets:digits", f"{folder.name}_wide:images"),
        *more,
    )
    (folder / f"{folder.name}_wide.py").write_text(WIDE)
    return path


def test_a_model_of_a_user_is_trained_on_images_that_are_no_squares(tmp_path: Path) -> None:
    folder = tmp_path / "shop_a"
    more = ("[sgam]\ngrid_side = 3\nwidth = 8\nevery = 3\n", "[augmentation]\npadding = 1\n")
    path = _wide(folder, 'factory = "shop_a_wide:net"', *more)
    outcome = run_training(load_recipe_file(path))
    assert outcome.steps == 10
    model = trained_model(str(folder / "out"))
    assert model(torch.rand(3, 1, 8, 5)).shape == (3, 10)


def test_also_with_a_log_of_its_masks(tmp_path: Path) -> None:
    folder = tmp_path / "shop_c"
    path = _wide(folder, 'factory = "shop_c_wide:net"', "[sgam]\ngrid_side = 3\n", "[mask_log]\n")
    path.write_text(path.read_text().replace("every = 2\n", "every = 2\nshare = 1\n"))
    assert run_training(load_recipe_file(path)).steps == 10
    head = json.loads((folder / "out" / "manifest.json").read_text())["result"]["mask_log_head"]
    report = verify_log(folder / "out" / "mask-log", VerifySettings(head=head))
    assert report.outcome is LogOutcome.COMPLETE, report


def test_backbones_of_ours_see_squares(tmp_path: Path) -> None:
    path = _wide(tmp_path / "shop_b", MODEL)
    with pytest.raises(InvalidInput, match="square images for the backbone cnn, got 8 x 5"):
        run_training(load_recipe_file(path))


def test_sizes_that_a_backbone_does_not_have_are_told_at_once(tmp_path: Path) -> None:
    """Before the images are loaded, of which there are none here."""
    text = RECIPE.replace("{ widths = [4], hidden = 8 }", "{ width = [4], hiden = 8 }")
    path = written(tmp_path, text.replace("fgmf.datasets:digits", "nothing:there"))
    with pytest.raises(InvalidRecipeFile) as caught:
        run_training(load_recipe_file(path))
    assert [problem.location for problem in caught.value.problems] == [
        "model.arguments.width",
        "model.arguments.hiden",
    ]
    assert "widths" in caught.value.problems[0].expected


SPIKING = RECIPE.replace(MODEL, 'backbone = "spiking"\narguments = { widths = [4], SIZES }')


@pytest.mark.parametrize(
    ("tables", "location", "words"),
    [
        ("[sgam]\ngrid_side = 4\n", "sgam", "no table [sgam] for the spiking network of model"),
        ("[pruning]\nshare = 0.4\n", "pruning.structure", '"weights" or "n-of-m"'),
    ],
)
def test_what_a_spiking_network_cannot_have_is_told_before_images(
    tables: str, location: str, words: str, tmp_path: Path
) -> None:
    text = SPIKING.replace("SIZES", "time_steps = 2").replace("fgmf.datasets:digits", "not:there")
    with pytest.raises(InvalidRecipeFile) as caught:
        run_training(load_recipe_file(written(tmp_path, text, tables)))
    (problem,) = caught.value.problems
    assert problem.location == location
    assert words in problem.expected
    assert "once per time step" in problem.expected


def test_agents_that_spike_have_no_mask_either(tmp_path: Path) -> None:
    agents = 'agents = [{ name = "a", backbone = "cnn" }, { name = "b", backbone = "spiking" }]'
    text = RECIPE.replace(MODEL, agents).replace("fgmf.datasets:digits", "nothing:there")
    with pytest.raises(InvalidRecipeFile, match=r"spiking network of model\.agents\[1\]"):
        run_training(load_recipe_file(written(tmp_path, text, "[team]\n[sgam]\n")))


@pytest.mark.parametrize(
    ("sizes", "table"),
    [
        ("time_steps = 1", "[sgam]\ngrid_side = 4\nwidth = 4\n"),
        ("time_steps = 2", '[pruning]\nshare = 0.4\nstructure = "weights"\nimages = 24\n'),
    ],
)
def test_what_a_spiking_network_can_have_it_has(sizes: str, table: str, tmp_path: Path) -> None:
    path = written(tmp_path, SPIKING.replace("SIZES", sizes), table)
    assert run_training(load_recipe_file(path)).steps == 10


def test_channels_in_the_last_place_are_named() -> None:
    labels = torch.arange(6)
    last = Samples(images=torch.rand(6, 8, 8, 3), labels=labels)
    with pytest.raises(InvalidInput, match=r"looks like \(n, h, w, c\)"):
        ImageFacts.of(last)
    narrow = Samples(images=torch.rand(6, 3, 8, 3), labels=labels)
    assert ImageFacts.of(narrow) == ImageFacts(channels=3, height=8, width=3, classes=6)
    with pytest.raises(InvalidInput, match=r"expected images \(n, c, h, w\)"):
        ImageFacts.of(Samples(images=torch.rand(6, 8, 8), labels=labels))
