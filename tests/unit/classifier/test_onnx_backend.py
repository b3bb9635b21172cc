from __future__ import annotations

import builtins
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tiny_models import LinearModel, classify, make_images

from fgmf.classifier.onnx_backend import OnnxModel, file_digest
from fgmf.errors import GradientUnavailable, InvalidInput, MissingDependency

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IMAGES = make_images(7)
EXPECTED = LinearModel()(IMAGES).detach()


@pytest.mark.parametrize("name", ["linear", "fixed", "double"])
@pytest.mark.parametrize("batch_size", [1, 3, 4, 128])
def test_logits_are_those_of_the_torch_model(
    exported: Callable[[str], Path], name: str, batch_size: int
) -> None:
    """A file with a fixed batch of 3 takes batches of any size, padded."""
    classifier = classify(exported(name), batch_size=batch_size)
    logits = classifier.logits_in_batches(IMAGES)
    assert torch.allclose(logits.float(), EXPECTED, rtol=0, atol=1e-4)  # sums of 64 floats
    assert torch.equal(classifier.predict(IMAGES), EXPECTED.argmax(dim=1))


def test_an_onnx_classifier_says_what_it_is(exported: Callable[[str], Path]) -> None:
    path = exported("linear")
    classifier = classify(str(path))
    assert not classifier.gradient_available
    assert classifier.module is None
    assert classifier.name == "linear.onnx"
    assert classifier.training_modules() == []
    with classifier.guard():
        assert classifier.state_digest() == file_digest(path)


def test_the_digest_is_that_of_the_file(exported: Callable[[str], Path]) -> None:
    assert file_digest(exported("linear")) != file_digest(exported("fixed"))
    assert file_digest(exported("linear")).startswith("sha256:")


def test_normalisation_comes_before_the_file(exported: Callable[[str], Path]) -> None:
    options: dict[str, Any] = {"normalize": {"mean": 0.5, "std": 0.5}}
    logits = classify(exported("linear"), **options).logits(IMAGES)
    assert torch.allclose(logits, classify(LinearModel(), **options).logits(IMAGES), atol=1e-4)


def test_gradients_are_refused_clearly(exported: Callable[[str], Path]) -> None:
    classifier = classify(exported("linear"))
    with pytest.raises(GradientUnavailable, match=r"file linear\.onnx; use attacks"):
        classifier.logits(IMAGES.clone().requires_grad_())


@pytest.mark.parametrize("output", ["z", "probabilities"])
def test_one_of_several_outputs_is_named(exported: Callable[[str], Path], output: str) -> None:
    logits = classify(exported("two-outputs"), output=output).logits_in_batches(IMAGES)
    expected = EXPECTED if output == "z" else EXPECTED.softmax(dim=1)
    assert torch.allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize("output", [None, "mean", "absent"])
def test_without_a_good_name_several_outputs_are_refused(
    exported: Callable[[str], Path], output: str | None
) -> None:
    classifier = classify(exported("two-outputs"), output=output)
    with pytest.raises(InvalidInput, match=r"with keys \['probabilities', 'z'\]"):
        classifier.predict(IMAGES)


def test_other_image_shapes_are_refused(exported: Callable[[str], Path]) -> None:
    classifier = classify(exported("linear"))
    with pytest.raises(InvalidInput, match=r"takes, got \(2, 3, 8, 8\)"):
        classifier.predict(make_images(2, shape=(3, 8, 8)))


def test_several_inputs_are_refused(exported: Callable[[str], Path]) -> None:
    with pytest.raises(InvalidInput, match=r"one floating-point input in two-inputs\.onnx, got"):
        classify(exported("two-inputs"))


@pytest.mark.parametrize("name", ["absent.onnx", "model.pt", "model", ""])
def test_a_path_to_nothing_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match=r"existing \.onnx file, got"):
        classify(tmp_path / name)


@pytest.mark.parametrize("contents", [b"", b"no model", b"\x08\x09" * 100])
def test_a_broken_file_is_refused(tmp_path: Path, contents: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(contents)
    with pytest.raises(InvalidInput, match=r"readable ONNX model in .*broken"):
        classify(path)


def test_a_truncated_file_is_refused(exported: Callable[[str], Path], tmp_path: Path) -> None:
    path = tmp_path / "short.onnx"
    shutil.copy(exported("linear"), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InvalidInput, match="readable ONNX model"):
        classify(path)


def test_without_onnxruntime_the_extra_is_named(
    exported: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, original = exported("linear"), builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependency, match=r"pytest-fgmf\[onnx\]"):
        classify(path)


class Session:
    """Answers, or fails, as told."""

    def __init__(self, answer: list[Any] | Exception) -> None:
        self.answer = answer

    def run(self, names: list[str], feed: dict[str, Any]) -> list[Any]:
        del names, feed
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def answering(path: Path, answer: list[Any] | Exception, names: list[str]) -> OnnxModel:
    model = OnnxModel(path, device=torch.device("cpu"))
    model._session, model._output_names = Session(answer), names
    return model


def test_outputs_without_rows_are_left_out(exported: Callable[[str], Path]) -> None:
    rows = np.zeros((2, 3), dtype=np.float32)
    answer = [rows, np.float32(1), [{0: 0.5}], np.array(["cat", "dog"]), np.array([1, 0])]
    names = ["z", "loss", "mapping", "names", "labels"]
    outputs = answering(exported("linear"), answer, names)(IMAGES[:2])
    assert isinstance(outputs, dict)
    assert sorted(outputs) == ["labels", "z"]
    only = answering(exported("linear"), [np.array(["cat", "dog"])], ["names"])(IMAGES[:2])
    assert only == {}


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (RuntimeError(), InvalidInput),
        (RuntimeError("[ONNXRuntimeError] : 2 : bad\nsecond line"), InvalidInput),
        (RuntimeError("Failed to allocate memory for requested buffer of size 9"), MemoryError),
    ],
)
def test_errors_of_the_runtime_are_translated(
    exported: Callable[[str], Path], raised: Exception, expected: type[Exception]
) -> None:
    model = answering(exported("linear"), raised, ["z"])
    with pytest.raises(expected) as caught:
        model(IMAGES)
    assert caught.value.__cause__ is raised
    assert "second line" not in str(caught.value)
