"""Which engine runs which file, and what is said where none does."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from tiny_onnx import export
from torch import nn

from fgmf.errors import InvalidInput, MissingDependency
from fgmf.export.engines import engines_for, example_of, runner_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    return export(network, tmp_path / "m.onnx", torch.rand(2, 3, 2, 2), names=["y"], fixed=False)


def test_onnxruntime_runs_onnx_files(file: Path) -> None:
    assert "onnxruntime" in engines_for(".onnx")
    assert "litert" not in engines_for(".onnx")
    assert engines_for(".pt") == {}
    image = example_of(file, seed=3)
    assert image.shape == (1, 3, 2, 2)
    assert torch.equal(image, example_of(file, seed=3))
    (logits,) = runner_of("onnxruntime", file, image)()
    assert logits.shape == (1, 2)


def test_other_engines_are_refused_with_those_that_there_are(file: Path) -> None:
    image = torch.rand(1, 3, 2, 2)
    for name in ("litert", "tensorrt"):
        with pytest.raises(InvalidInput, match=r"m\.onnx, onnxruntime, openvino, got"):
            runner_of(name, file, image)


def test_openvino_is_asked_for_one_thread(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def compile_model(path: str, device: str, settings: dict[str, Any]) -> Any:
        if "broken" in path:
            raise RuntimeError("no model\nlong story")
        asked.update(settings, device=device)
        request = SimpleNamespace(infer=lambda feed: feed[0].sum())
        return SimpleNamespace(create_infer_request=lambda: request)

    core = SimpleNamespace(compile_model=compile_model)
    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(Core=lambda: core))
    assert runner_of("openvino", file, torch.ones(1, 3, 2, 2))() == 12
    assert (asked["INFERENCE_NUM_THREADS"], asked["device"]) == (1, "CPU")
    with pytest.raises(InvalidInput, match=r"OpenVINO runs in .*: no model$"):
        runner_of("openvino", file.with_name("broken.onnx"), torch.ones(1, 3, 2, 2))
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependency, match="pip install openvino"):
        runner_of("openvino", file, torch.ones(1, 3, 2, 2))


def test_images_of_an_open_shape_are_refused(tmp_path: Path) -> None:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, "height", 4])
    put_out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "values"])
    node = helper.make_node("Flatten", ["x"], ["y"])
    graph = helper.make_graph([node], "open", [given], [put_out])
    path = tmp_path / "open.onnx"
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, path)
    with pytest.raises(InvalidInput, match="images of a fixed shape"):
        example_of(path)
