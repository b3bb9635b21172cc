"""ONNX files through onnxruntime: forward passes only. The one module that imports it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fgmf.errors import InvalidInput, MissingDependency

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_TYPES = {"tensor(float)": torch.float32, "tensor(double)": torch.float64}
_TYPES["tensor(float16)"] = torch.float16


class OnnxModel:
    """An ONNX classifier as a callable from a tensor to a mapping of named outputs.

    Args:
        path: The ``.onnx`` file.
        device: CUDA is used where onnxruntime has it; else the CPU.

    Attributes:
        image_shape: Of one image; lengths that the file leaves open have a name or None.

    Raises:
        MissingDependency: onnxruntime is not installed.
        InvalidInput: The file is missing, unreadable, or has more than one input.
    """

    def __init__(self, path: Path, *, device: torch.device) -> None:
        if path.suffix.lower() != ".onnx" or not path.is_file():
            raise InvalidInput(f"expected the path of an existing .onnx file, got {str(path)!r}")
        self._session = _open_session(path, device)
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in _TYPES:
            got = ", ".join(f"{entry.name}: {entry.type}" for entry in inputs)
            raise InvalidInput(f"expected one floating-point input in {path.name}, got {got}")
        self._input_name = inputs[0].name
        self._dtype = _TYPES[inputs[0].type]
        first = inputs[0].shape[0] if inputs[0].shape else None
        self._fixed_batch = first if isinstance(first, int) else None
        self.image_shape: tuple[int | str | None, ...] = tuple(inputs[0].shape[1:])
        self._output_names = [entry.name for entry in self._session.get_outputs()]

    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor] | torch.Tensor:
        """Return the outputs by name, or the only one as a tensor; on the CPU.

        Args:
            images: (n, ...); a file with a fixed batch is run in parts of that size.

        Raises:
            InvalidInput: onnxruntime refuses the input.
            MemoryError: Memory ran out.
        """
        size = self._fixed_batch or images.shape[0]
        parts = [self._run(part, size) for part in images.detach().cpu().split(size)]
        outputs = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        alone = len(outputs) == len(self._output_names) == 1
        return next(iter(outputs.values())) if alone else outputs

    def _run(self, images: torch.Tensor, size: int) -> dict[str, torch.Tensor]:
        count = images.shape[0]
        padding = images[-1:].expand(size - count, *images.shape[1:])
        feed = {self._input_name: torch.cat([images, padding]).to(self._dtype).numpy()}
        try:
            arrays = self._session.run(self._output_names, feed)
        except Exception as error:
            if "allocate memory" in str(error):
                raise MemoryError(str(error)) from error
            message = f"expected input that the ONNX model takes, got {tuple(images.shape)}: "
            raise InvalidInput(message + _first_line(error)) from error
        named = dict(zip(self._output_names, arrays, strict=True))
        return {name: torch.from_numpy(a)[:count] for name, a in named.items() if _has_rows(a)}


def onnx_runner(path: Path, images: torch.Tensor) -> Callable[[], object]:
    """Return a function that runs a file on the same images each time, for timing.

    Args:
        path: The ``.onnx`` file; it gets a session of its own, on the CPU.
        images: (n, ...) as the file takes them.

    Raises:
        MissingDependency: onnxruntime is not installed.
        InvalidInput: The file cannot be read.
    """
    session = _open_session(path, torch.device("cpu"))
    feed = {session.get_inputs()[0].name: images.detach().cpu().contiguous().numpy()}
    return lambda: session.run(None, feed)


def _has_rows(output: Any) -> bool:  # noqa: ANN401 - arrays, and lists of what ONNX has no array for
    """Whether an output can hold logits: not a single number, text, or a list of mappings."""
    return isinstance(output, np.ndarray) and output.ndim > 0 and output.dtype.kind in "biuf"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def file_digest(path: Path) -> str:
    """Return ``sha256:<hex>`` of a file's bytes."""
    with path.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def _open_session(path: Path, device: torch.device) -> Any:  # noqa: ANN401 - a foreign type
    try:
        import onnxruntime
    except ImportError as error:
        message = 'expected onnxruntime for an .onnx model; pip install "pytest-fgmf[onnx]"'
        raise MissingDependency(message) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    wanted = ["CPUExecutionProvider"]
    if device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        wanted.insert(0, "CUDAExecutionProvider")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=wanted)
    except Exception as error:
        message = f"expected a readable ONNX model in {path}: {_first_line(error)}"
        raise InvalidInput(message) from error
