"""LiteRT files behind a classifier, with a stand-in for the interpreter.

What the real one does with real files is tested by `tox -e litert`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fgmf.classifier import Classifier
from fgmf.classifier.litert_backend import LiteRtModel
from fgmf.errors import GradientUnavailable, InvalidInput, MissingDependency


class Interpreter:
    """Sums of each image, batches of two; refuses images that are not 3 x 3."""

    batch = 2
    inputs = 1
    outputs = ("scores",)

    def __init__(self, *, model_path: str, num_threads: int) -> None:
        if b"broken" in Path(model_path).read_bytes():
            raise ValueError("no file of ours\nlong story")
        assert num_threads == 1
        self.calls: list[int] = []

    def allocate_tensors(self) -> None:
        """Nothing."""

    def get_input_details(self) -> list[dict[str, Any]]:
        shape = np.array([self.batch, 1, 3, 3], dtype=np.int32)
        entry = {"name": "images", "index": 0, "dtype": np.float32, "shape": shape}
        return [entry] * self.inputs

    def get_output_details(self) -> list[dict[str, Any]]:
        return [{"name": name, "index": at} for at, name in enumerate(self.outputs)]

    def set_tensor(self, index: int, values: np.ndarray) -> None:
        if values.shape != (self.batch, 1, 3, 3):
            raise ValueError("other dimensions")
        self._given = values.copy()

    def invoke(self) -> None:
        self.calls.append(len(self._given))

    def get_tensor(self, index: int) -> np.ndarray:
        sums = self._given.reshape(len(self._given), -1).sum(axis=1)
        return np.stack([sums, -sums + index], axis=1)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = SimpleNamespace(Interpreter=Interpreter)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", SimpleNamespace(interpreter=package))
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", package)
    file = tmp_path / "model.tflite"
    file.write_bytes(b"whole")
    return file


@pytest.mark.parametrize("count", [1, 2, 5])
def test_images_are_run_in_parts_of_the_file(path: Path, count: int) -> None:
    classifier = Classifier(path, bounds=(0, 1))
    images = torch.rand(count, 1, 3, 3)
    logits = classifier.logits(images)
    sums = images.flatten(1).sum(dim=1)
    # Nine numbers below 1 in float32, in another order.
    torch.testing.assert_close(logits, torch.stack([sums, -sums], dim=1), atol=1e-5, rtol=0)
    assert classifier.source == path
    assert classifier.state_digest().startswith("sha256:")


def test_several_outputs_are_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Interpreter, "outputs", ("features", "logits"))
    classifier = Classifier(path, bounds=(0, 1), output="logits")
    images = torch.zeros(3, 1, 3, 3)
    assert torch.equal(classifier.logits(images), torch.tensor([[0.0, 1.0]]).expand(3, 2))


def test_a_runner_does_nothing_but_run(path: Path) -> None:
    model, images = LiteRtModel(path), torch.rand(2, 1, 3, 3)
    run = model.runner(images)
    (scores,) = run()
    assert torch.equal(torch.from_numpy(scores), model(images))
    with pytest.raises(InvalidInput, match="expected input that"):
        model.runner(torch.rand(2, 1, 4, 4))


def test_no_gradients_pass(path: Path) -> None:
    classifier = Classifier(path, bounds=(0, 1))
    assert not classifier.gradient_available
    with pytest.raises(GradientUnavailable, match=r"model\.tflite"):
        classifier.logits(torch.rand(1, 1, 3, 3, requires_grad=True))


def test_what_is_refused_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match=r"takes, got \(2, 1, 4, 4\): other dimensions"):
        Classifier(path, bounds=(0, 1)).logits(torch.rand(2, 1, 4, 4))
    with pytest.raises(InvalidInput, match=r"existing \.tflite file"):
        Classifier(path.with_name("none.tflite"), bounds=(0, 1))
    monkeypatch.setattr(Interpreter, "inputs", 2)
    with pytest.raises(InvalidInput, match="one floating-point input"):
        Classifier(path, bounds=(0, 1))
    path.write_bytes(b"broken")
    with pytest.raises(InvalidInput, match=r"readable LiteRT model in .*: no file of ours$"):
        Classifier(path, bounds=(0, 1))


def test_the_package_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(MissingDependency, match=r"pytest-fgmf\[litert\]"):
        Classifier(path, bounds=(0, 1))
