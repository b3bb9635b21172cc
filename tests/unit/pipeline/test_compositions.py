"""Every defence with all that can stand beside it: it trains, and each part leaves a trace."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file
from unit.pipeline.recipe_files import written

from fgmf.pipeline.defence_tables import TaughtTable
from fgmf.pipeline.defences import DEFENCES
from fgmf.pipeline.loading import load_recipe_file
from fgmf.pipeline.running import run_training

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """
schema = 1
seed = 3
output = "{output}"
[data]
factory = "fgmf.datasets:digits"
images = 32
[schedule]
epochs = 3
batch_size = 16
[writing]
metrics_every = 1
"""
BESIDE = """
[sgam]
grid_side = 4
every = 2
[pruning]
share = 0.5
structure = "weights"
begin = 0.1
end = 0.4
images = 16
[augmentation]
padding = 1
[optimizer]
name = "curvature-aware"
base = "sgd"
curvature_every = 3
"""
MODELS = {
    "cnn": '[model]\nbackbone = "cnn"\narguments = { widths = [4], hidden = 8, norm = "batch" }\n',
    "vit": '[model]\nbackbone = "vit"\narguments = { patch_side = 4, width = 8, heads = 2 }\n',
}
TEACHER = """
[defence]
name = "smoothed"
label_smoothing = 0.0
temperature = 20
"""
SECOND_DERIVATIVES = ("cure", "llr", "gradient-penalty", "grad-align", "scorpio", "scor-pio-2")


def recipe(folder: Path, name: str, model: str, *more: str) -> Path:
    budget = "epsilon" in DEFENCES[name].model_fields
    defence = f'[defence]\nname = "{name}"\n' + ("epsilon = 0.1\n" if budget else "")
    taught = issubclass(DEFENCES[name], TaughtTable)
    if taught:
        teacher = written(folder / "t", HEAD.format(output="out"), MODELS[model], TEACHER)
        run_training(load_recipe_file(teacher))
        more = (*more, '[teacher]\ndirectory = "t/out"\n')
    return written(folder, HEAD.format(output="out"), MODELS[model], defence, *more)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "out" / "weights.safetensors")


@pytest.mark.parametrize("name", list(DEFENCES))
def test_all_that_can_stand_beside_a_defence(name: str, tmp_path: Path) -> None:
    collapse = "[collapse]\nevery = 3\nmax_images = 8\n" if has_budget(name) else ""
    path = recipe(tmp_path, name, "cnn", BESIDE, collapse)
    outcome = run_training(load_recipe_file(path))
    assert (outcome.steps, outcome.stopped) == (6, "")
    trained = weights(tmp_path)
    assert all(bool(value.isfinite().all()) for value in trained.values())
    assert any(key.startswith("layer.") for key in trained)  # the mask in front
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    # Half of each layer's weights; of all numbers less, as biases and norms are not pruned.
    assert 0.35 < manifest["result"]["pruned_share"] < 0.5
    lines = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 6 + 3
    told = {key for line in lines for key in json.loads(line)}
    assert any("gap" in key for key in told) == bool(collapse), told


@pytest.mark.parametrize("name", SECOND_DERIVATIVES)
def test_second_derivatives_of_attention(name: str, tmp_path: Path) -> None:
    """In bfloat16 too: fused attention has none, and is replaced while they are taken."""
    for kind, engine in (("plain", ""), ("half", '[engine]\nmixed_precision = "bfloat16"\n')):
        path = recipe(tmp_path / kind, name, "vit", engine)
        run_training(load_recipe_file(path))
        first = weights(tmp_path / kind)
        assert all(bool(value.isfinite().all()) for value in first.values())
    plain, half = weights(tmp_path / "plain"), weights(tmp_path / "half")
    rounded = any(not torch.equal(plain[key], half[key]) for key in plain)
    assert rounded == (name != "scorpio")  # all of its loss hangs together with differences
    # Three epochs at a small rate: rounding to 8 bits moves no weight by more than a few steps.
    assert max(float((plain[k] - half[k]).abs().max()) for k in plain) < 0.05


def has_budget(name: str) -> bool:
    return "epsilon" in DEFENCES[name].model_fields
