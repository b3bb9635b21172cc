"""`fgmf init`: a commented gate file that parses and whose gate runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from fgmf.cli.application import application
from fgmf.cli.looking import guess_bounds, guess_epsilon
from fgmf.gatefile import load_gate_file
from fgmf.preflight.data import ImageStatistics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typer.testing import Result

SHOP = '''
import numpy as np
import torch


class Brightness(torch.nn.Module):
    """Class 1 above a brightness; expects images around zero if `mean` is given."""

    def __init__(self, at, scale):
        super().__init__()
        self.at, self.scale = at, scale

    def forward(self, images):
        above = self.scale * (images.mean(dim=(1, 2, 3)) - self.at)
        return torch.stack([-above, above], dim=1)


def load():
    return Brightness(0.5, 20.0).eval()


def load_bytes():
    return Brightness(127.5, 0.1).eval()


def load_centred():
    return Brightness(0.0, 5.0).eval()


def data():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 2
    images = 0.2 + 0.5 * labels.reshape(-1, 1, 1, 1) + 0.1 * torch.rand(
        300, 1, 4, 4, generator=generator
    )
    return images, labels


def colour_bytes():
    images, labels = data()
    return (images.repeat(1, 3, 1, 1) * 255).to(torch.uint8), labels


def no_weights():
    raise KeyError("weights.pt")


def no_array():
    return lambda images: "nothing"
'''


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "init_shop.py").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("init_shop", None)


def fgmf(*arguments: str) -> Result:
    return CliRunner().invoke(application, arguments)


def init(model: str, data: str, *more: str) -> Result:
    return fgmf("init", "--model", f"init_shop:{model}", "--data", f"init_shop:{data}", *more)


def test_the_file_parses_and_its_gate_runs(shop: Path) -> None:
    result = init("load", "data")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"wrote {shop / 'fgmf.toml'}")
    gate_file = load_gate_file(shop / "fgmf.toml")
    assert gate_file.models[0].bounds == (0.0, 1.0)
    assert gate_file.models[0].normalize is None
    gate: Any = gate_file.gates[0]
    assert gate.name == "robust-linf"
    assert gate.epsilon == 0.1
    assert 0.9 <= gate.min_clean_accuracy < 1
    text = (shop / "fgmf.toml").read_text()
    assert "# Seen: 300 images of 1 x 4 x 4, float32, 0.2" in text
    assert "seen: 1.000 of 300 images, 2 classes" in text
    checked = fgmf("check")
    assert checked.exit_code == 0
    assert "PASS robust-linf" in checked.stdout


def test_colour_bytes_are_recognised(shop: Path) -> None:
    assert init("load_bytes", "colour_bytes").exit_code == 0
    gate_file = load_gate_file(shop / "fgmf.toml")
    assert gate_file.models[0].bounds == (0.0, 255.0)
    gate: Any = gate_file.gates[0]
    assert gate.epsilon == 8
    assert fgmf("check").exit_code in {0, 1, 3}


def test_a_missing_normalisation_is_recognised(shop: Path) -> None:
    assert init("load_centred", "data").exit_code == 0
    normalize = load_gate_file(shop / "fgmf.toml").models[0].normalize
    assert normalize is not None
    assert normalize["mean"][0] == pytest.approx(0.5, abs=0.02)
    assert "seen: 1.000 of 300 images" in (shop / "fgmf.toml").read_text()
    assert fgmf("check").exit_code in {0, 1, 3}


def test_a_model_without_logits_gets_a_file_that_says_so(shop: Path) -> None:
    assert init("no_array", "data").exit_code == 0
    text = (shop / "fgmf.toml").read_text()
    assert "# Seen before the first run" in text
    assert "#   error  output-shape" in text
    assert "fix: " in text
    assert "min_clean_accuracy" not in text
    assert fgmf("check").exit_code == 5


def test_an_archive_is_named_from_the_file(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shop / "runs").mkdir()
    images = np.random.Generator(np.random.PCG64(0)).random((40, 1, 4, 4), dtype=np.float32)
    labels = (images.mean(axis=(1, 2, 3)) > 0.5).astype(np.int64)
    np.savez(shop / "runs" / "test.npz", images=images, labels=labels)
    monkeypatch.chdir(shop / "runs")
    output = str(shop / "fgmf.toml")
    result = fgmf("init", "--model", "init_shop:load", "--data", "test.npz", "--output", output)
    assert result.exit_code == 0, result.output
    assert 'path = "runs/test.npz"' in (shop / "fgmf.toml").read_text()
    assert load_gate_file(shop / "fgmf.toml").data.path == shop / "runs" / "test.npz"


def test_without_factories_the_file_has_places_for_them(shop: Path) -> None:
    result = fgmf("init")
    assert result.exit_code == 0
    assert "put your own factories into [model] and [data]" in result.stdout
    assert load_gate_file(shop / "fgmf.toml").models[0].factory == "shop.model:load"
    assert fgmf("check").exit_code == 5


def test_a_file_that_is_there_is_kept(shop: Path) -> None:
    (shop / "fgmf.toml").write_text("mine")
    result = init("load", "data")
    assert result.exit_code == 2
    assert "--force replaces it" in result.stderr
    assert (shop / "fgmf.toml").read_text() == "mine"
    assert init("load", "data", "--force").exit_code == 0
    assert load_gate_file(shop / "fgmf.toml").gates


def test_a_second_gate_file_is_refused(shop: Path) -> None:
    (shop / "pyproject.toml").write_text("[tool.fgmf]\nschema = 1\n")
    result = init("load", "data", "--force")
    assert result.exit_code == 2
    assert "[tool.fgmf] in pyproject.toml" in result.stderr
    assert not (shop / "fgmf.toml").exists()


@pytest.mark.parametrize("output", ["pyproject.toml", "gates.yaml"])
def test_only_a_toml_file_of_its_own_is_written(shop: Path, output: str) -> None:
    assert init("load", "data", "--output", output).exit_code == 2
    assert not (shop / output).exists()


@pytest.mark.parametrize(
    ("model", "code", "words"),
    [
        ("init_shop:no_weights", 5, "raised KeyError: 'weights.pt'"),
        ("init_shop:missing", 5, "cannot be imported"),
        ("no_such_module:load", 5, "cannot be imported"),
        ("model.pt", 2, "package.module:factory or an .onnx or .tflite file"),
        ("none.onnx", 5, "none.onnx"),
    ],
)
def test_a_model_that_cannot_be_loaded_leaves_no_file(
    shop: Path, model: str, code: int, words: str
) -> None:
    result = fgmf("init", "--model", model, "--data", "init_shop:data")
    assert result.exit_code == code
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert not (shop / "fgmf.toml").exists()


def statistics(
    low: float, high: float, dtype: str = "float32", *, whole: bool = False
) -> ImageStatistics:
    return ImageStatistics(
        shape=(10, 1, 8, 8),
        dtype=dtype,
        lowest=low,
        highest=high,
        mean=(0.0,),
        std=(1.0,),
        nonfinite_images=0,
        constant_images=0,
        duplicate_images=0,
        whole=whole,
    )


@pytest.mark.parametrize(
    ("seen", "bounds"),
    [
        (statistics(0, 1), (0, 1)),
        (statistics(0.1, 0.8), (0, 1)),
        (statistics(0, 0.996), (0, 1)),
        (statistics(0, 1, whole=True), (0, 1)),
        (statistics(0, 254, "uint8", whole=True), (0, 255)),
        (statistics(0, 1, "uint8", whole=True), (0, 255)),
        (statistics(0, 16, whole=True), (0, 16)),
        (statistics(0, 15, whole=True), (0, 15)),
        (statistics(0, 200, whole=True), (0, 255)),
        (statistics(0, 4000, "int32", whole=True), (0, 4095)),
        (statistics(0, 254.5), (0, 255)),
        (statistics(-1, 1), (-1, 1)),
        (statistics(-0.42, 2.82), (-0.5, 2.9)),
        (statistics(0, 1.25), (0, 1.3)),
        (statistics(0, 1e6, whole=True), (0, 1e6)),
        (statistics(float("nan"), float("nan")), (0, 1)),
    ],
    ids=str,
)
def test_bounds_hold_the_images(seen: ImageStatistics, bounds: tuple[float, float]) -> None:
    lower, upper = guess_bounds(seen)
    assert (lower, upper) == pytest.approx(bounds)
    assert lower < upper


def test_epsilon_is_in_the_units_of_the_bounds() -> None:
    grey = statistics(0, 1)
    colour = ImageStatistics(**{**grey.__dict__, "shape": (10, 3, 8, 8)})
    assert guess_epsilon(grey, (0, 1)) == 0.1
    assert guess_epsilon(grey, (0, 16)) == 1.6
    assert guess_epsilon(colour, (0, 1)) == "8/255"
    assert guess_epsilon(colour, (0, 255)) == 8
    assert guess_epsilon(colour, (-1, 1)) == "16/255"
