"""Trainings that prune: what is gone stays gone, across kills and in every form, and is checked."""

from __future__ import annotations

import json
import signal
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file
from unit.pipeline.recipe_files import RECIPE, written
from unit.pipeline.test_loading import problems
from unit.pipeline.test_running import Killed, in_a_child, train, weights

from fgmf.datasets import digits
from fgmf.errors import InvalidInput, StaleEvidence
from fgmf.pipeline import trained_model
from fgmf.sparsity import SparsityPattern, compact, find_units, load_pattern, save_pattern
from fgmf.training import Callback

if TYPE_CHECKING:
    from pathlib import Path

    from fgmf.training import TrainingRun

UNITS = "[pruning]\nshare = 0.5\nbegin = 0.2\nend = 0.6\nrounds = 3\nimages = 48\n"
FORMS = {
    "units by the defence's loss": UNITS,
    "units by magnitude, of all layers": UNITS + 'scores = "magnitude"\nscope = "global"\n',
    "weights": UNITS + 'structure = "weights"\nshape = "linear"\n',
    "n of m": '[pruning]\nstructure = "n-of-m"\nn = 1\nm = 4\nscores = "magnitude"\n',
}


@pytest.mark.parametrize("form", FORMS)
def test_what_is_gone_is_gone_to_the_bit(form: str, tmp_path: Path) -> None:
    path = written(tmp_path, RECIPE, FORMS[form])
    train(path)
    out = tmp_path / "out"
    result = json.loads((out / "manifest.json").read_text())["result"]
    pattern, state = (
        load_pattern(out / "pattern.safetensors"),
        load_file(out / "weights.safetensors"),
    )
    assert pattern.digest == result["pattern"]
    gone = sum(int(state[name][~kept].ne(0).sum()) for name, kept in pattern.kept().items())
    assert gone == 0
    count = sum(value.numel() for value in state.values() if value.is_floating_point())
    assert result["pruned_share"] == pytest.approx(pattern.removed_count / count, abs=1e-9)
    model = trained_model(str(out))
    assert pattern.violations(model) == {}
    for name, kept in pattern.kept().items():
        if form == "n of m":
            rows = kept.reshape(len(kept), -1)
            groups = rows[:, : rows.shape[1] // 4 * 4].reshape(-1, 4)
            assert bool((groups.sum(dim=1) == 1).all()), name
        assert bool(kept.any())


def test_units_that_went_are_taken_out_of_the_finished_model(tmp_path: Path) -> None:
    train(written(tmp_path, RECIPE, UNITS))
    model, images = trained_model(str(tmp_path / "out")), digits("test").images[:32]
    made = compact(model, images)
    assert {group: gone for group, (gone, _) in made.removed.items()} == {
        "features.0": 2,
        "head.1": 4,
    }
    with torch.no_grad():
        # Fewer terms of float32 sums, logits of order 1.
        torch.testing.assert_close(made.model(images), model(images), atol=1e-5, rtol=0)


def test_a_killed_training_ends_with_the_same_files(tmp_path: Path) -> None:
    whole, parts = (written(tmp_path / name, RECIPE, UNITS) for name in ("whole", "parts"))
    train(whole)
    for step, event in (
        (1, "after_update"),
        (4, "after_step"),
        (6, "writing"),
        (9, "after_update"),
    ):
        bomb = (Killed(step, event),)
        assert in_a_child(lambda bomb=bomb: train(parts, callbacks=bomb)) == signal.SIGKILL
    train(parts)
    assert weights(whole.parent) == weights(parts.parent)
    one, other = (load_pattern(p.parent / "out" / "pattern.safetensors") for p in (whole, parts))
    assert one == other


def test_layers_besides_are_left_alone_and_must_be_there(tmp_path: Path) -> None:
    train(written(tmp_path / "a", RECIPE, UNITS + 'besides = ["features.0"]\n'))
    pattern = load_pattern(tmp_path / "a" / "out" / "pattern.safetensors")
    assert not any(name.startswith("features.0") for name in pattern.tensors)
    with pytest.raises(InvalidInput, match="names of groups to leave alone, got 'tail'"):
        train(written(tmp_path / "b", RECIPE, UNITS + 'besides = ["tail"]\n'))


def test_weights_that_came_back_are_noticed(tmp_path: Path) -> None:
    train(written(tmp_path, RECIPE, UNITS))
    out = tmp_path / "out"
    place, manifest = out / "pattern.safetensors", out / "manifest.json"
    kept = {name: ~flags for name, flags in load_pattern(place).kept().items()}
    genuine = place.read_bytes()
    save_pattern(SparsityPattern.of(kept), place)
    with pytest.raises(StaleEvidence, match="pattern that the manifest names"):
        trained_model(str(out))
    document = json.loads(manifest.read_text())
    document["result"]["pattern"] = load_pattern(place).digest
    manifest.write_text(json.dumps(document))
    with pytest.raises(StaleEvidence, match="expected zeros as in"):
        trained_model(str(out))
    place.write_bytes(genuine)
    place.unlink()
    with pytest.raises(StaleEvidence, match="got none"):
        trained_model(str(out))


def test_a_look_for_units_moves_no_statistics() -> None:
    """In the middle of a training the model is in train mode."""
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.Flatten(),
        torch.nn.Linear(144, 3),
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    find_units(model.train(), torch.rand(2, 1, 8, 8))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training
    assert model[1].training


BRANCHING = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(64, 10)

    def forward(self, images):
        return self.layer(images.flatten(1) if images.sum() > 0 else -images.flatten(1))
"""


def test_a_model_without_units_to_find_is_told_before_the_first_update(tmp_path: Path) -> None:
    (tmp_path / "branching_net.py").write_text(BRANCHING)
    text = RECIPE.replace('backbone = "cnn"', 'factory = "branching_net:Net"')
    text = text.replace("arguments = { widths = [4], hidden = 8 }", "")
    late = written(tmp_path, text, UNITS.replace("begin = 0.2", "begin = 0.6"))
    seen = Counting()
    with pytest.raises(InvalidInput, match='structure = "weights" in a training'):
        train(late, callbacks=(seen,))
    assert seen.updates == 0
    path = written(tmp_path, text, UNITS + 'structure = "weights"\n')
    train(path, callbacks=(seen,), restart=True)
    assert seen.updates == 10


@pytest.mark.parametrize(
    ("network", "more", "expected"),
    [
        ("torch.nn.Linear(64, 10)", "", "units that can be removed, got none"),
        (
            "torch.nn.Linear(64, 8), torch.nn.ReLU(), torch.nn.Linear(8, 10)",
            'besides = ["head"]\n',
            "names of groups to leave alone, got 'head'",
        ),
    ],
)
def test_units_that_cannot_be_chosen_are_told_before_the_first_update(
    network: str, more: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "dense_net", raising=False)
    (tmp_path / "dense_net.py").write_text(
        "import torch\n\n"
        "def net():\n"
        f"    return torch.nn.Sequential(torch.nn.Flatten(), {network})\n"
    )
    text = RECIPE.replace('backbone = "cnn"', 'factory = "dense_net:net"')
    text = text.replace("arguments = { widths = [4], hidden = 8 }", "")
    late = written(tmp_path, text, UNITS.replace("begin = 0.2", "begin = 0.6") + more)
    seen = Counting()
    with pytest.raises(InvalidInput, match=expected):
        train(late, callbacks=(seen,))
    assert seen.updates == 0


class Counting(Callback):
    updates = 0

    def after_update(self, run: TrainingRun) -> None:
        self.updates = run.step


@pytest.mark.parametrize(
    ("table", "place", "expected"),
    [
        ("", "pruning.share", "a share above 0 and below 1"),
        ("share = 1.0", "pruning.share", ""),
        ('share = 0.5\nstructure = "n-of-m"', "pruning.share", "which n and m say"),
        ('structure = "n-of-m"\nn = 4', "pruning.n", "fewer than m = 4"),
        ("share = 0.5\nbegin = 0.5\nend = 0.3", "pruning.end", "no less than begin"),
        ('share = 0.5\nscores = "random"', "pruning.scores", ""),
    ],
)
def test_tables_that_prune_nothing_sound_are_refused(
    table: str, place: str, expected: str, tmp_path: Path
) -> None:
    found = problems(written(tmp_path, RECIPE, f"[pruning]\n{table}\n"))
    assert expected in found[place]
