"""`fgmf export`: from a gate file to a file that its gates accept."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner, Result

from fgmf.cli.application import application
from fgmf.export import Provenance, verify_export
from fgmf.export.onnx_files import provenance_text, read_model
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHOP = '''
"""Bright or dark, by four hidden units of which two are dead."""

import torch


def load(scale=1.0):
    first, second = torch.nn.Linear(16, 4), torch.nn.Linear(4, 2)
    with torch.no_grad():
        first.weight.fill_(1 / 16)
        first.bias.fill_(0.1)
        first.weight[2:] = 0
        first.bias[2:] = 0
        above = scale * torch.tensor([[-10.0], [10.0]])
        second.weight.copy_(above.expand(2, 4))
        second.bias.copy_(-above.flatten() * 2 * 0.5444)
    return torch.nn.Sequential(torch.nn.Flatten(), first, torch.nn.ReLU(), second).eval()


def data():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(80) % 2
    images = 0.3 + 0.4 * labels.reshape(-1, 1, 1, 1)
    return images + 0.05 * torch.randn(80, 1, 4, 4, generator=generator), labels


def callable_only():
    model = load()
    return lambda images: model(images)
'''
FILE = """
schema = 1
seed = 3
[model]
factory = "exported_shop:load"
bounds = [0, 1]
device = "cpu"
normalize = { mean = 0.1, std = 0.9 }
[data]
factory = "exported_shop:data"
[[gate]]
name = "robust"
kind = "robustness"
norm = "linf"
epsilon = 0.01
min_robust_accuracy = 0.5
images = "all"
population = "dataset"
attacks = ["fgsm"]
[[gate]]
name = "shipped"
kind = "export-parity"
artefact = "model.onnx"
epsilon = 0.01
min_robust_accuracy = 0.5
min_agreement = 0.9
min_attacked_agreement = 0.9
images = "all"
population = "dataset"
queries = 10
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "exported_shop.py").write_text(SHOP)
    (tmp_path / "fgmf.toml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("exported_shop", None)


def _run(*words: str) -> Result:
    return CliRunner().invoke(application, list(words))


def _provenance(path: Path) -> Provenance:
    return Provenance.from_text(provenance_text(read_model(path)) or "")


def test_what_was_gated_is_compacted_exported_signed_and_gated_again(shop: Path) -> None:
    checked = _run("check", "--gate", "robust", "--report", "json:report.json")
    assert checked.exit_code == 0, checked.output
    key = _run("log", "keygen", "secret.txt", "--name", "release").output.strip()
    asked = ["export", "model.onnx", "--compact", "--report", "report.json", "--sign", "secret.txt"]
    result = _run(*asked)
    assert result.exit_code == 0, result.output
    assert "1: 2 of 4 taken out" in result.output
    assert "verdicts recorded: robust pass" in result.output
    signed = ("verify-export", "model.onnx", "--public-key", key, "--gate", "robust")
    assert _run(*signed).exit_code == 0
    again = _run("check", "--gate", "shipped")
    assert again.exit_code == 0, again.output
    said = _provenance(shop / "model.onnx")
    report = json.loads((shop / "report.json").read_text())
    gated = report["verdicts"][0]["evidence"]["model_digest"]
    assert said.origin == gated != said.source
    assert (said.normalization, said.verdicts[0]["model"]) == ("baked", gated)
    shapes = {tuple(t.dims) for t in onnx.load(shop / "model.onnx").graph.initializer}
    assert (2, 2) in shapes


def test_a_retrained_model_is_no_source_of_the_file(shop: Path) -> None:
    assert _run("export", "model.onnx").exit_code == 0
    again = _run("check", "--gate", "shipped")
    assert again.exit_code == 0, again.output
    file = shop / "fgmf.toml"
    file.write_text(file.read_text().replace("[data]", "arguments = { scale = 0.9 }\n[data]"))
    again = _run("check", "--gate", "shipped")
    assert again.exit_code == 5
    assert "got the export of another model" in again.output


def test_verdicts_on_another_model_are_not_recorded(shop: Path) -> None:
    _run("check", "--gate", "robust", "--report", "json:report.json")
    file = shop / "fgmf.toml"
    file.write_text(file.read_text().replace("[data]", "arguments = { scale = 0.9 }\n[data]"))
    result = _run("export", "model.onnx", "--report", "report.json")
    assert result.exit_code == 5
    assert "gate it as it is now" in result.output
    assert not (shop / "model.onnx").exists()


def test_storage_and_normalisation_are_as_asked(shop: Path) -> None:
    asked = ("export", "model.onnx", "--storage", "sparse", "--normalization", "outside")
    result = _run(*asked)
    assert result.exit_code == 0, result.output
    assert "stored sparsely: 1 tensors; a record of their zeros, no speed" in result.output
    assert "nothing outside of the file stands behind it" in result.output
    said = _provenance(shop / "model.onnx")
    assert (said.storage, said.normalization) == ("sparse", "outside")
    again = _run("check", "--gate", "shipped")
    assert again.exit_code == 0, again.output


def test_int8_is_made_from_images_and_called_another_model(shop: Path) -> None:
    generator = np.random.default_rng(0)
    images = generator.random((20, 1, 4, 4), dtype=np.float32)
    np.savez(shop / "train.npz", images=images, labels=np.zeros(20, dtype=np.int64))
    result = _run("export", "model.onnx", "--int8", "--calibration", "train.npz")
    assert result.exit_code == 0, result.output
    assert "another model" in result.output
    said = _provenance(shop / "model.onnx")
    assert said.quantization.startswith("int8, static, 20 images")
    assert verify_export(shop / "model.onnx").outcome is Outcome.INCONCLUSIVE


def test_the_log_of_the_run_names_the_file(shop: Path) -> None:
    import torch

    from fgmf.backbones import ConvNet, ConvNetConfig
    from fgmf.mask_log import MaskLog
    from fgmf.sgam import Sgam

    model = Sgam.wrap(ConvNet(ConvNetConfig(image_side=8, widths=(4,), hidden=4)), channels=1)
    with MaskLog(shop / "log").attach(model):
        model(torch.rand(4, 1, 8, 8))
    result = _run("export", "model.onnx", "--log", "log")
    assert result.exit_code == 0, result.output
    head = result.output.split("keep its head elsewhere: ")[1].split()[0]
    assert _run("verify-export", "model.onnx", "--log", "log", "--against", head).exit_code == 0
    assert _provenance(shop / "model.onnx").mask_log is not None
    missing = _run("export", "other.onnx", "--log", "none")
    assert missing.exit_code == 5
    assert not (shop / "other.onnx").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.pt"], "path of an .onnx or .tflite file, got model.pt"),
        (["model.onnx", "--int8"], "--int8 needs --calibration"),
        (["model.onnx", "--calibration", "train.npz"], "--int8 needs --calibration"),
        (["m.onnx", "--int8", "--storage", "sparse"], "--int8 makes dense .onnx files"),
        (["m.tflite", "--normalization", "outside"], "goes with .onnx files only"),
        (["m.onnx", "--accept-refusals"], "goes with --compact"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    shop: Path, words: list[str], said: str
) -> None:
    result = _run("export", *words)
    assert result.exit_code == 2
    assert said in result.output


def test_what_is_no_module_cannot_be_exported(shop: Path) -> None:
    file = shop / "fgmf.toml"
    file.write_text(file.read_text().replace("exported_shop:load", "exported_shop:callable_only"))
    result = _run("export", "model.onnx")
    assert result.exit_code == 5
    assert "expected a PyTorch model to export" in result.output


def test_times_are_compared_with_a_control(shop: Path) -> None:
    for name, more in (("whole.onnx", []), ("small.onnx", ["--compact"])):
        assert _run("export", name, *more).exit_code == 0
    asked = ["latency", "whole.onnx", "small.onnx", "--engine", "onnxruntime", "--rounds", "5"]
    result = _run(*asked, "--repeats", "7", "--seed", "2", "--report", "latency.json")
    assert result.exit_code == 0, result.output
    assert "A/A control" in result.output
    assert "5 rounds of 7 calls in random order; load of the machine" in result.output
    found = json.loads((shop / "latency.json").read_text())
    measured = found["engines"]["onnxruntime"]
    assert set(measured["timings"]) == {"whole.onnx", "small.onnx"}
    assert measured["noise"] >= 0
    sizes = found["files"]
    assert 0 < sizes["small.onnx"]["bytes"] < sizes["whole.onnx"]["bytes"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["model.onnx", "model.onnx"], 2, "each once"),
        (["model.onnx", "model.tflite"], 2, "files of one format"),
        (["model.txt"], 2, "an engine that runs .txt files"),
        (["model.onnx"], 5, "existing .onnx file"),
        (["model.onnx", "--engine", "litert"], 5, "existing .onnx file"),
    ],
)
def test_what_cannot_be_timed_is_refused(
    shop: Path, words: list[str], code: int, said: str
) -> None:
    result = _run("latency", *words)
    assert result.exit_code == code
    assert said in result.output
