"""Trainings by recipe files: killed and gone on, finished, refused, read back into a gate."""

from __future__ import annotations

import json
import os
import signal
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from unit.pipeline.recipe_files import RECIPE, written

import fgmf.canonical
from fgmf.datasets import digits
from fgmf.errors import FactoryFailed, InvalidInput, StaleEvidence
from fgmf.mask_log import LogOutcome, VerifySettings, verify_log
from fgmf.pipeline import trained_model
from fgmf.pipeline.loading import load_recipe_file
from fgmf.pipeline.running import TrainingOutcome, TrainingRequest, run_training
from fgmf.training import Callback
from fgmf.training.collapse_signals import measure_signals
from fgmf.training.perturbations import evaluating

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from fgmf.training import TrainingRun
    from fgmf.training.collapse_signals import CollapseSignals

CUT, STANDARD = 'factory = "shop_cut:net"', '"standard"'
SGAM = "[sgam]\ngrid_side = 4\nwidth = 8\nevery = 3\n"


class Killed(Callback):
    """SIGKILL at an update: no cleaning up of any kind."""

    def __init__(self, step: int, event: str) -> None:
        self._step, self._event = step, event

    def after_step(self, run: TrainingRun) -> None:
        if self._event == "after_step" and run.step + 1 == self._step:
            os.kill(os.getpid(), signal.SIGKILL)

    def after_update(self, run: TrainingRun) -> None:
        if self._event == "after_update" and run.step == self._step:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._event == "writing" and run.step == self._step:
            fgmf.canonical.os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)


def in_a_child(work: Callable[[], object]) -> int:
    """Run something in a copy of this process, and return the signal that ended it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of the test runner
        child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def train(path: Path, **request: object) -> TrainingOutcome:
    return run_training(load_recipe_file(path), TrainingRequest(**request))  # type: ignore[arg-type]


def weights(folder: Path) -> bytes:
    return (folder / "out" / "weights.safetensors").read_bytes()


class TestKilled:
    @pytest.mark.parametrize("more", ["", SGAM], ids=["plain", "masked"])
    def test_ends_with_the_same_file(self, more: str, tmp_path: Path) -> None:
        """In the middle of an update, after one, in the middle of writing; 10 updates in all."""
        whole, parts = (written(tmp_path / name, RECIPE, more) for name in ("whole", "parts"))
        train(whole)
        kills = ((1, "after_update"), (3, "after_step"), (6, "writing"), (9, "after_update"))
        notes: list[str] = []
        for step, event in kills:
            bomb = (Killed(step, event),)
            assert in_a_child(lambda bomb=bomb: train(parts, callbacks=bomb)) == signal.SIGKILL
            manifest = json.loads((parts.parent / "out" / "manifest.json").read_text())
            assert manifest["state"] == "running"
        if not more:
            assert [
                p for p in (parts.parent / "out").iterdir() if p.name.startswith(".check")
            ] == []
        outcome = train(parts, notify=notes.append, callbacks=(Callback(),))
        assert notes == ["goes on after update 8 of 10"]
        assert (outcome.steps, outcome.already) == (10, False)
        assert weights(whole.parent) == weights(parts.parent)
        manifest = json.loads((parts.parent / "out" / "manifest.json").read_text())
        assert [s["from_update"] for s in manifest["sessions"]] == [0, 0, 2, 4, 8]
        assert not (parts.parent / "out" / "checkpoint.pt").exists()

    def test_it_says_what_rounds_otherwise(self, tmp_path: Path) -> None:
        path, notes = written(tmp_path), list[str]()
        bomb = (Killed(4, "after_update"),)
        assert in_a_child(lambda: train(path, callbacks=bomb)) == signal.SIGKILL
        manifest = tmp_path / "out" / "manifest.json"
        document = json.loads(manifest.read_text())
        document["sessions"][-1] |= {"threads": 64, "torch": "1.0", "system": "another"}
        manifest.write_text(json.dumps(document))
        train(path, notify=notes.append)
        assert notes[0].startswith("goes on after update 2")
        assert notes[1].startswith("threads, torch changed since the training was cut off")
        assert len(notes) == 2


class TestMaskLog:
    def test_is_complete_also_after_kills(self, tmp_path: Path) -> None:
        """Validation and monitor look at the model too, and are left out."""
        text = RECIPE.replace("every = 2", "every = 2\nshare = 1.0")
        more = SGAM + (
            "[mask_log]\n[collapse]\nevery = 4\nmax_images = 8\n[validation]\nimages = 8\n"
            'factory = "fgmf.datasets:digits"\n'
        )
        whole, parts = (written(tmp_path / name, text, more) for name in ("whole", "parts"))
        train(whole)
        for step in (1, 5):
            bomb = (Killed(step, "after_step"),)
            assert in_a_child(lambda bomb=bomb: train(parts, callbacks=bomb)) == signal.SIGKILL
        train(parts)
        assert weights(whole.parent) == weights(parts.parent)
        for path in (whole, parts):
            out = path.parent / "out"
            manifest = json.loads((out / "manifest.json").read_text())
            head = manifest["result"]["mask_log_head"]
            report = verify_log(out / "mask-log", VerifySettings(head=head))
            assert report.outcome is LogOutcome.COMPLETE, report
        with pytest.raises(InvalidInput, match="evidence"):
            train(parts, restart=True)


class TestOutcome:
    @pytest.fixture
    def recipe(self, tmp_path: Path) -> Path:
        path = written(tmp_path)
        train(path)
        return path

    def test_is_a_model_for_a_gate(self, recipe: Path) -> None:
        out = recipe.parent / "out"
        model = trained_model(str(out))
        assert not model.training
        assert model(digits("test").images[:3]).shape == (3, 10)
        for name, value in load_file(out / "weights.safetensors").items():
            assert torch.equal(model.state_dict()[name], value)
        manifest = json.loads((out / "manifest.json").read_text())
        assert manifest["state"] == "finished"
        assert len(manifest["result"]["losses"]) == 2
        assert manifest["result"]["forward_passes"] > 120 * 2 * 2
        assert "AmoRecipe" in manifest["objective"]
        assert (out / "recipe.toml").read_bytes() == recipe.read_bytes()

    def test_is_not_made_twice(self, recipe: Path) -> None:
        before = (recipe.parent / "out" / "manifest.json").read_bytes()
        again = train(recipe)
        assert (again.already, again.steps) == (True, 10)
        assert (recipe.parent / "out" / "manifest.json").read_bytes() == before

    def test_another_recipe_is_refused_or_starts_anew(self, recipe: Path) -> None:
        written(recipe.parent, RECIPE.replace("every = 2", "every = 3"))
        with pytest.raises(StaleEvidence, match=r"differs in recipe.*--restart"):
            train(recipe)
        old = weights(recipe.parent)
        outcome = train(recipe, restart=True)
        assert not outcome.already
        assert weights(recipe.parent) != old

    def test_how_often_is_written_is_no_other_recipe(self, recipe: Path) -> None:
        written(recipe.parent, RECIPE.replace("metrics_every = 1", "metrics_every = 2"))
        assert train(recipe).already

    def test_other_weights_are_refused(self, recipe: Path) -> None:
        path = recipe.parent / "out" / "weights.safetensors"
        contents = bytearray(path.read_bytes())
        contents[-1] ^= 1
        path.write_bytes(contents)
        with pytest.raises(StaleEvidence, match="got others"):
            trained_model(str(path.parent))

    def test_a_finished_training_without_its_weights_is_not_called_trained(
        self, recipe: Path
    ) -> None:
        path = recipe.parent / "out" / "weights.safetensors"
        contents = path.read_bytes()
        path.write_bytes(contents[:-1])
        with pytest.raises(StaleEvidence, match=r"got others.*--restart"):
            train(recipe)
        path.unlink()
        with pytest.raises(StaleEvidence, match=r"got none.*--restart"):
            train(recipe)
        with pytest.raises(StaleEvidence, match="got none"):
            trained_model(str(path.parent))
        train(recipe, restart=True)
        assert path.read_bytes() == contents

    def test_a_manifest_of_an_earlier_form_is_refused(self, recipe: Path) -> None:
        """Its facts about images were others: a side, where there are height and width."""
        path = recipe.parent / "out" / "manifest.json"
        document = json.loads(path.read_text())
        path.write_text(json.dumps(document | {"format": "fgmf-training/1"}))
        with pytest.raises(StaleEvidence, match=r"form fgmf-training/2 .* got another; start anew"):
            trained_model(str(path.parent))

    def test_a_manifest_that_lacks_something_is_refused(self, recipe: Path) -> None:
        path = recipe.parent / "out" / "manifest.json"
        document = json.loads(path.read_text())
        del document["result"]
        path.write_text(json.dumps(document))
        with pytest.raises(StaleEvidence, match="without result"):
            trained_model(str(path.parent))
        with pytest.raises(StaleEvidence, match="without result"):
            train(recipe)

    def test_one_class_is_no_task(self, tmp_path: Path) -> None:
        one = RECIPE.replace("images = 120", "images = 1")
        with pytest.raises(InvalidInput, match="two or more classes, got 1 of one"):
            train(written(tmp_path, one))

    def test_no_training_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(StaleEvidence, match="finished training"):
            trained_model(str(tmp_path))

    def test_only_one_at_a_time(self, recipe: Path) -> None:
        import filelock

        with (
            filelock.FileLock(recipe.parent / "out" / ".lock"),
            pytest.raises(InvalidInput, match="another that is running"),
        ):
            train(recipe)


def _accuracy(model: nn.Module, count: int | None = None) -> float:
    found = digits("test")
    with torch.no_grad():
        right = model(found.images[:count]).argmax(dim=1) == found.labels[:count]
    return float(right.double().mean())


class TestParts:
    def test_validation_collapse_and_ramps(self, tmp_path: Path) -> None:
        more = """
[validation]
factory = "fgmf.datasets:digits"
arguments = { split = "test" }
images = 20
[collapse]
every = 2
max_images = 8
[ramps.weight]
end = 0.5
"""
        raw: list[float] = []

        class Looks(Callback):
            """The weights that are trained, which are not those that the model ends with."""

            def after_epoch(self, run: TrainingRun) -> None:
                with evaluating(run.model):
                    raw.append(_accuracy(run.model))

        path = written(tmp_path, RECIPE, more)
        train(path, callbacks=(Looks(),))
        lines = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        epochs = [row for row in rows if row["kind"] == "epoch"]
        assert len(epochs) == 2
        model = trained_model(str(tmp_path / "out"))
        assert epochs[-1]["clean_accuracy"] == pytest.approx(_accuracy(model))
        assert epochs[-1]["clean_accuracy"] != pytest.approx(raw[-1])
        robust = [20 * row["robust_accuracy"] for row in epochs]
        assert robust == [round(count) for count in robust]  # of 20 images
        assert 0 <= robust[-1] <= round(20 * _accuracy(model, 20))
        assert sum("collapse_gap" in row for row in rows if row["kind"] == "update") == 5
        plain = written(tmp_path / "plain")
        train(plain)
        assert weights(tmp_path) != weights(plain.parent)  # the ramp

    def test_watching_changes_no_weight(self, tmp_path: Path) -> None:
        more = """
[validation]
factory = "fgmf.datasets:digits"
images = 10
[collapse]
every = 3
max_images = 8
"""
        plain, watched = written(tmp_path / "a"), written(tmp_path / "b", RECIPE, more)
        train(plain)
        train(watched)
        assert weights(plain.parent) == weights(watched.parent)

    def test_a_collapse_stops_it_and_its_model_is_taken_only_when_asked_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def collapsed(*things: Any, **settings: Any) -> CollapseSignals:
            return replace(measure_signals(*things, **settings), gap=0.5)

        monkeypatch.setattr("fgmf.training.collapse.measure_signals", collapsed)
        path = written(tmp_path, RECIPE, "[collapse]\nevery = 1\nmax_images = 8\nstop = true\n")
        outcome, out = train(path), tmp_path / "out"
        assert (outcome.steps, "collapse monitor" in outcome.stopped) == (2, True)  # two in a row
        assert json.loads((out / "manifest.json").read_text())["state"] == "stopped"
        with pytest.raises(StaleEvidence, match=r"one that was stopped: .*collapse monitor"):
            trained_model(str(out))
        model = trained_model(str(out), even_stopped=True)
        assert all(value.isfinite().all() for value in model.state_dict().values())

    def test_why_there_is_no_robust_accuracy_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "shop_cut.py").write_text(
            "import torch\n"
            "class Cut(torch.nn.Module):\n"
            "    def forward(self, images):\n"
            "        return images.detach()\n"
            "def net():\n"
            "    return torch.nn.Sequential(Cut(), torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
        )
        more = '[validation]\nfactory = "fgmf.datasets:digits"\nimages = 10\nepsilon = 0.1\n'
        own = RECIPE.replace('backbone = "cnn"\narguments = { widths = [4], hidden = 8 }', CUT)
        path = written(
            tmp_path, own.replace('"scor-pio-2"\nepsilon = "1/10"\nevery = 2', STANDARD), more
        )
        told: list[str] = []
        run_training(load_recipe_file(path), TrainingRequest(notify=told.append))
        for epoch, text in zip((1, 2), told, strict=True):
            assert text.startswith(f"no robust accuracy after epoch {epoch}: gradient-blocked")
        lines = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        assert [row["robust_accuracy"] for row in rows if row["kind"] == "epoch"] == [None, None]

    def test_models_of_users(self, tmp_path: Path) -> None:
        (tmp_path / "shop_nets.py").write_text(
            "import torch\n"
            "def net(hidden):\n"
            "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, hidden),\n"
            "        torch.nn.ReLU(), torch.nn.Linear(hidden, 10))\n"
            "def none():\n"
            "    return 3\n"
        )
        model = 'backbone = "cnn"\narguments = { widths = [4], hidden = 8 }'
        own = (
            'factory = "shop_nets:net"\narguments = { hidden = 6 }\n'
            "normalize = { mean = 0.3, std = 0.2 }"
        )
        path = written(tmp_path, RECIPE.replace(model, own))
        train(path)
        restored = trained_model(str(tmp_path / "out"))
        assert "backbone.1.weight" in restored.state_dict()
        none = written(tmp_path / "b", RECIPE.replace(model, 'factory = "shop_nets:none"'))
        (tmp_path / "b" / "shop_nets.py").write_text((tmp_path / "shop_nets.py").read_text())
        with pytest.raises(FactoryFailed, match="shop_nets"):
            train(none)

    def test_a_model_that_returns_probabilities_is_refused(self, tmp_path: Path) -> None:
        """Before an update is made: of a softmax twice it would learn next to nothing."""
        (tmp_path / "shop_soft.py").write_text(
            "import torch\n"
            "def net():\n"
            "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10),\n"
            "        torch.nn.Softmax(dim=1))\n"
        )
        model = 'backbone = "cnn"\narguments = { widths = [4], hidden = 8 }'
        path = written(tmp_path, RECIPE.replace(model, 'factory = "shop_soft:net"'))
        with pytest.raises(InvalidInput, match="sum to 1"):
            train(path)
        assert not (tmp_path / "out" / "weights.safetensors").exists()

    def test_a_student_of_an_earlier_training(self, tmp_path: Path) -> None:
        table = 'name = "scor-pio-2"\nepsilon = "1/10"\nevery = 2'
        train(written(tmp_path / "teacher"))
        taught = 'name = "guided-distillation"\nepsilon = 0.1\nsteps = 1'
        more = '[teacher]\ndirectory = "../teacher/out"\n[ramps.weight]\nend = 0.5\n'
        student = written(tmp_path / "student", RECIPE.replace(table, taught), more)
        train(student)
        manifest = json.loads((tmp_path / "student" / "out" / "manifest.json").read_text())
        teacher = json.loads((tmp_path / "teacher" / "out" / "manifest.json").read_text())
        assert manifest["identity"]["teacher"] == teacher["result"]["weights"]
        with pytest.raises(StaleEvidence, match="finished training"):
            train(
                written(tmp_path / "early", RECIPE.replace(table, taught), more.replace("/out", ""))
            )
