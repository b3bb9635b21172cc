"""What a training needs is missed before its images are loaded, or told."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from pathlib import Path

import pytest
from unit.pipeline.recipe_files import RECIPE, written

from fgmf.errors import InvalidInput, InvalidRecipeFile, MissingDependency, StaleEvidence
from fgmf.pipeline import trained_model
from fgmf.pipeline.building import build_samples, check_needs
from fgmf.pipeline.directory import TrainingDirectory
from fgmf.pipeline.loading import load_recipe_file
from fgmf.pipeline.running import TrainingRequest, run_training
from fgmf.training import Engine

CNN = 'backbone = "cnn"\narguments = { widths = [4], hidden = 8 }'


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
    assert told == ["data.images asks for 1349 images, there are 1348; all are taken"]


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


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        ('device = "cuda:97"', r"'cuda:97', and torch finds \d+ cuda device"),
        ('compiled = true\nbackend = "nix"', r"torch.compile \(.*inductor.*got 'nix'"),
    ],
)
def test_what_this_machine_does_not_have_is_said(
    engine: str, expected: str, tmp_path: Path
) -> None:
    plan = load_recipe_file(written(tmp_path, RECIPE, "[engine]", engine))
    with pytest.raises(InvalidInput, match=expected):
        run_training(plan)


@pytest.mark.parametrize("backend", ["inductor", "eager", "aot_eager"])
def test_backends_that_there_are(backend: str) -> None:
    Engine(compiled=True, backend=backend).check_backend()
    Engine(backend="nix").check_backend()  # is not used


def test_a_backend_of_the_model_s_own_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "shop_backend", raising=False)
    (tmp_path / "shop_backend.py").write_text(
        "import torch\n"
        "from torch._dynamo import register_backend\n"
        "@register_backend\n"
        "def shop_compiles(graph, _inputs):\n"
        "    return graph.forward\n"
        "def net():\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
    )
    text = RECIPE.replace(CNN, 'factory = "shop_backend:net"').replace(
        'name = "scor-pio-2"\nepsilon = "1/10"\nevery = 2', 'name = "standard"'
    )
    engine = '[engine]\ncompiled = true\nbackend = "shop_compiles"\n'
    assert run_training(load_recipe_file(written(tmp_path, text, engine))).steps == 10


def test_only_the_process_that_writes_needs_tensorboard(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    check_needs(load_recipe_file(written(tmp_path, RECIPE + "tensorboard = true\n")), writes=False)


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("seed = 9007199254740992", "seed"),
        ("epochs = 1000000000000000000000", "schedule.epochs"),
        ("peak_learning_rate = 1e300", "schedule.peak_learning_rate"),
        ('output = "."', "output"),
        ('output = "../FOLDER"', "output"),
        ('output = "FOLDER/../."', "output"),
    ],
)
def test_numbers_and_places_out_of_range_are_told_at_their_keys(
    line: str, place: str, tmp_path: Path
) -> None:
    text = RECIPE
    for before in ("seed = 7", "epochs = 2", 'output = "out"'):
        if before.split(" ")[0] == line.split(" ", maxsplit=1)[0]:
            text = text.replace(before, line.replace("FOLDER", tmp_path.name))
    if "rate" in line:
        text = text.replace("epochs = 2", f"epochs = 2\n{line}")
    with pytest.raises(InvalidRecipeFile) as caught:
        load_recipe_file(written(tmp_path, text))
    assert [problem.location for problem in caught.value.problems] == [place]
    if line == "seed = 9007199254740992":
        assert caught.value.problems[0].expected == "a whole number < 9007199254740992"


def test_networks_without_end_are_refused(tmp_path: Path) -> None:
    text = RECIPE.replace("hidden = 8", "hidden = 100000000000000")
    with pytest.raises(InvalidInput, match=r"model.arguments that make a network of ConvNetConfig"):
        run_training(load_recipe_file(written(tmp_path, text)))


def _from(folder: Path, lines: str, more: str = "") -> Path:
    (folder / "shop_needs.py").write_text(
        "import torch\n"
        "def images():\n"
        "    images = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))\n"
        "    labels = torch.arange(24) % 3\n"
        f"    {lines}\n"
        "    return images, labels\n"
    )
    text = RECIPE.replace("fgmf.datasets:digits", "shop_needs:images").replace("images = 120", more)
    return written(folder, text)


@pytest.mark.parametrize(
    ("lines", "more", "expected"),
    [
        ("labels += 1", "", r"no image of 1 of 4 classes \(0\): labels number classes from 0"),
        ("labels = (labels + 1).to(torch.uint16)", "", r"no image of 1 of 4 classes \(0\)"),
        ("labels *= 40", "", r"no image of 78 of 81 classes \(1, 2, 3, 4, 5, \.\.\.\)"),
        ("pass", "bounds = [0, 255]", r"images span \[.*\] of data.bounds \[0, 255\]"),
        ("pass", "bounds = [0, 9]", None),
    ],
)
def test_what_looks_like_a_mistake_is_told(
    lines: str, more: str, expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "shop_needs", raising=False)
    told: list[str] = []
    build_samples(load_recipe_file(_from(tmp_path, lines, more)), told.append)
    assert len(told) == (expected is not None)
    assert all(re.search(str(expected), text) for text in told)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("labels[3] = 2**40", "labels that number classes from 0 on, got one of 1099511627776"),
        ("images[3, 0, 1, 1] = float('nan')", "finite pixel values, got NaN or infinity"),
    ],
)
def test_what_cannot_be_trained_on(
    lines: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "shop_needs", raising=False)
    with pytest.raises(InvalidInput, match=expected):
        run_training(load_recipe_file(_from(tmp_path, lines)))


class TestDirectory:
    @pytest.mark.parametrize("restart", [False, True])
    @pytest.mark.parametrize("name", ["weights.safetensors", "recipe.toml", "metrics.csv"])
    def test_of_others_is_left_as_it_is(self, name: str, *, restart: bool, tmp_path: Path) -> None:
        out = tmp_path / "out"
        out.mkdir()
        for each in (name, f".{name}.swp", f".{name}.{'0' * 16}"):
            (out / each).write_text("mine")
        plan = load_recipe_file(written(tmp_path))
        with pytest.raises(InvalidInput, match=f"{name} without the manifest of a training"):
            run_training(plan, TrainingRequest(restart=restart))
        for each in (name, f".{name}.swp", f".{name}.{'0' * 16}"):
            assert (out / each).read_text() == "mine"

    def test_a_link_to_nowhere_is_left_as_it_is(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "weights.safetensors").symlink_to(tmp_path / "unmounted")
        with pytest.raises(InvalidInput, match="without the manifest"):
            run_training(load_recipe_file(written(tmp_path)))
        assert (tmp_path / "out" / "weights.safetensors").is_symlink()

    @pytest.mark.parametrize("contents", ["{", '{"name": "shop", "icons": []}', "[1]"])
    def test_nothing_is_removed_beside_another_manifest(
        self, contents: str, tmp_path: Path
    ) -> None:
        plan, out = load_recipe_file(written(tmp_path)), tmp_path / "out"
        run_training(plan)
        (out / "manifest.json").write_text(contents)
        before = {path.name: path.read_bytes() for path in out.iterdir()}
        way = "cannot be read .*move the directory away" if contents == "{" else "got another"
        with pytest.raises(StaleEvidence, match=f"expected a manifest.*{way}"):
            run_training(plan)
        with pytest.raises(InvalidInput, match="got a damaged one, or another file of this name"):
            run_training(plan, TrainingRequest(restart=True))
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before

    def test_a_restart_that_was_cut_off_can_be_repeated(self, tmp_path: Path) -> None:
        plan, out = load_recipe_file(written(tmp_path)), tmp_path / "out"
        run_training(plan)
        whole = {path.name: path.read_bytes() for path in out.iterdir()}
        unlink, cuts = Path.unlink, 0
        for allowed in range(12):
            for name, data in whole.items():
                (out / name).write_bytes(data)
            left = [allowed]

            def cut(path: Path, *, missing_ok: bool = False, left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
                unlink(path, missing_ok=missing_ok)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Path, "unlink", cut)
                with contextlib.suppress(KeyboardInterrupt):
                    TrainingDirectory(path=out).prepare(restart=True)
            cuts += left[0] < 0
            TrainingDirectory(path=out).prepare(restart=True)
            assert {path.name for path in out.iterdir()} <= {".lock"}
        assert cuts >= 5

    def test_what_a_crash_left_torn_goes_and_nothing_else(self, tmp_path: Path) -> None:
        plan, out = load_recipe_file(written(tmp_path)), tmp_path / "out"
        run_training(plan)
        torn = out / f".checkpoint.pt.{'0a' * 8}"
        others = [
            out / ".recipe.toml.swp",
            out / f".notes.txt.{'0a' * 8}",
            out / ".manifest.json.d",
            out / f".recipe.toml.{'0a' * 8}.bak",
        ]
        for path in (torn, *others):
            path.write_text("some")
        (out / f".weights.safetensors.{'0b' * 8}").mkdir()
        assert run_training(plan).already
        assert not torn.exists()
        assert all(path.exists() for path in others)

    def test_a_model_beside_its_recipe_is_still_loaded(self, tmp_path: Path) -> None:
        """From before recipe files had to lie elsewhere."""
        run_training(load_recipe_file(written(tmp_path)))
        manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
        manifest["recipe"]["output"] = "."
        manifest["recipe_file"]["path"] = "recipe.toml"
        (tmp_path / "out" / "manifest.json").write_text(json.dumps(manifest))
        assert trained_model(str(tmp_path / "out")) is not None

    def test_files_of_other_names_stay(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "notes.txt").write_text("mine")
        for restart in (False, True):
            run_training(load_recipe_file(written(tmp_path)), TrainingRequest(restart=restart))
        assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
        assert (tmp_path / "out" / "recipe.toml").read_text() == RECIPE

    def test_a_crash_right_after_the_manifest_goes_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing of ours is ever in the directory before the manifest."""
        plan = load_recipe_file(written(tmp_path))
        seen: list[list[str]] = []

        def crash(path: Path, data: bytes) -> None:
            seen.append(sorted(each.name for each in path.parent.iterdir()))
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("fgmf.pipeline.running.write_atomically", crash)
            with pytest.raises(KeyboardInterrupt):
                run_training(plan)
        assert [[name for name in names if name[0] != "."] for names in seen] == [["manifest.json"]]
        assert run_training(plan).steps == 10


def test_a_guess_that_depends_on_the_scale_is_validated(tmp_path: Path) -> None:
    """Its answers are right for pixels of 0 to 255 alone, as those of some first weights are."""
    (tmp_path / "shop_scale.py").write_text(
        "import torch\n"
        "from fgmf.datasets import collect_samples, digits\n"
        "def net():\n"
        "    some = collect_samples(digits())\n"
        "    pixels = some.images.flatten(1)\n"
        "    means = torch.stack([pixels[some.labels == each].mean(dim=0) for each in range(10)])\n"
        "    layer = torch.nn.Linear(64, 10)\n"
        "    bias = -255 * means.square().sum(dim=1) / 2\n"
        "    layer.load_state_dict({'weight': means, 'bias': bias})\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), layer)\n"
    )
    text = RECIPE.replace(CNN, 'factory = "shop_scale:net"').replace(
        "epochs = 2", "epochs = 1\npeak_learning_rate = 1e-12\nweight_decay = 0.0"
    )
    more = '[validation]\nfactory = "fgmf.datasets:digits"\nimages = 100\nepsilon = 0.001\n'
    told: list[str] = []
    run_training(
        load_recipe_file(written(tmp_path, text, more)), TrainingRequest(notify=told.append)
    )
    lines = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    row = next(row for row in map(json.loads, lines) if row["kind"] == "epoch")
    assert told == []
    assert row["clean_accuracy"] < 0.2
    assert 0 <= row["robust_accuracy"] <= row["clean_accuracy"] + 0.1
