"""Engines that run exported files: which are installed, and a runner for each.

onnxruntime   .onnx
openvino      .onnx, where the package openvino is installed
litert        .tflite, where the package ai-edge-litert is installed

One thread, one image per call. The one module that imports `openvino`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

import torch

from fgmf.errors import InvalidInput, MissingDependency

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fgmf.types import Images

ENGINES: Final = {
    "onnxruntime": (".onnx", "onnxruntime"),
    "openvino": (".onnx", "openvino"),
    "litert": (".tflite", "ai-edge-litert"),
}
"""By name: suffix of the files, and the distribution."""


def engines_for(suffix: str) -> dict[str, str]:
    """Return the installed engines for files of a suffix, and their versions."""
    found = {}
    for name, (takes, distribution) in ENGINES.items():
        if takes == suffix:
            try:
                found[name] = version(distribution)
            except PackageNotFoundError:
                continue
    return found


def runner_of(engine: str, path: Path, images: Images) -> Callable[[], object]:
    """Return a function that runs a file on the same images each time.

    Args:
        engine: One of `ENGINES`.
        path: The file; it gets a session of its own.
        images: (1, ...) as the file takes it.

    Raises:
        InvalidInput: No such engine, it does not run such files, or it refuses this one.
        MissingDependency: It is not installed.
    """
    suffix, _ = ENGINES.get(engine, ("", ""))
    if suffix != path.suffix:
        known = ", ".join(name for name, (takes, _) in ENGINES.items() if takes == path.suffix)
        raise InvalidInput(f"expected an engine for {path.name}, {known or 'none'}, got {engine!r}")
    if engine == "onnxruntime":
        from fgmf.classifier.onnx_backend import onnx_runner

        return onnx_runner(path, images)
    if engine == "litert":
        from fgmf.export.litert import litert_runner

        return litert_runner(path, images)
    return _openvino_runner(path, images)


def example_of(path: Path, *, seed: int = 0) -> Images:
    """Return one random image from 0 to 1 of the shape that a file takes.

    Args:
        path: An ``.onnx`` or ``.tflite`` file.
        seed: Fixes the image; the time of a network hardly depends on it.

    Raises:
        InvalidInput: The file cannot be read, or leaves more open than the size of the batch.
        MissingDependency: What reads it is not installed.
    """
    if path.suffix == ".tflite":
        from fgmf.classifier.litert_backend import LiteRtModel

        shape: tuple[Any, ...] = LiteRtModel(path).image_shape
    else:
        from fgmf.classifier.onnx_backend import OnnxModel

        shape = OnnxModel(path, device=torch.device("cpu")).image_shape
    if not shape or not all(isinstance(length, int) and length > 0 for length in shape):
        message = f"expected images of a fixed shape in {path.name}"
        raise InvalidInput(f"{message}, got {shape}; export it with a fixed height and width")
    return torch.rand((1, *shape), generator=torch.Generator().manual_seed(seed))


def _openvino_runner(path: Path, images: Images) -> Callable[[], object]:
    try:
        package: Any = import_module("openvino")
    except ImportError as error:
        raise MissingDependency("expected openvino to time with; pip install openvino") from error
    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    try:
        request = package.Core().compile_model(str(path), "CPU", settings).create_infer_request()
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InvalidInput(f"expected a file that OpenVINO runs in {path}: {reason}") from error
    feed = [images.detach().cpu().contiguous().numpy()]
    return lambda: request.infer(feed)
