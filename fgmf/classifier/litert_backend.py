"""LiteRT files (`.tflite`) through their interpreter: forward passes only.

The one module that imports `ai_edge_litert.interpreter`. A file has a batch size of its own, mostly
one: images are run in parts of that size, the last part filled up. One thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from fgmf.errors import InvalidInput, MissingDependency

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_TYPES: Final = {np.float32: torch.float32, np.float16: torch.float16}


class LiteRtModel:
    """A LiteRT classifier as a callable from a tensor to a mapping of named outputs.

    Args:
        path: The ``.tflite`` file.

    Attributes:
        image_shape: Of one image.

    Raises:
        MissingDependency: ai-edge-litert is not installed.
        InvalidInput: The file is missing, unreadable, or has more than one input.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() != ".tflite" or not path.is_file():
            raise InvalidInput(f"expected the path of an existing .tflite file, got {str(path)!r}")
        self._name = path.name
        self._interpreter = _open_interpreter(path)
        inputs = self._interpreter.get_input_details()
        if len(inputs) != 1 or inputs[0]["dtype"] not in _TYPES or not len(inputs[0]["shape"]):
            got = ", ".join(f"{entry['name']}: {np.dtype(entry['dtype'])}" for entry in inputs)
            raise InvalidInput(f"expected one floating-point input in {path.name}, got {got}")
        self._given = inputs[0]["index"]
        self._dtype = _TYPES[inputs[0]["dtype"]]
        self._size = int(inputs[0]["shape"][0])
        self.image_shape = tuple(int(length) for length in inputs[0]["shape"][1:])
        self._wanted = [(e["name"], e["index"]) for e in self._interpreter.get_output_details()]

    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor] | torch.Tensor:
        """Return the outputs by name, or the only one as a tensor; on the CPU.

        Args:
            images: (n, ...), run in parts of the file's batch size.

        Raises:
            InvalidInput: The interpreter refuses the input.
        """
        parts = [self._run(part) for part in images.detach().cpu().split(self._size)]
        outputs = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return next(iter(outputs.values())) if len(self._wanted) == len(outputs) == 1 else outputs

    def runner(self, images: torch.Tensor) -> Callable[[], object]:
        """Return a function that runs the same images each time, and nothing around it.

        Args:
            images: As many as the file takes at once.
        """
        feed = images.detach().cpu().to(self._dtype).contiguous().numpy()
        engine, given, wanted = self._interpreter, self._given, [at for _, at in self._wanted]

        def run() -> object:
            engine.set_tensor(given, feed)
            engine.invoke()
            return [engine.get_tensor(index) for index in wanted]

        self._run(images)  # refuses what does not fit, in words
        return run

    def _run(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        count = images.shape[0]
        padding = images[-1:].expand(self._size - count, *images.shape[1:])
        feed = torch.cat([images, padding]).to(self._dtype).contiguous().numpy()
        try:
            self._interpreter.set_tensor(self._given, feed)
            self._interpreter.invoke()
            found = {name: self._interpreter.get_tensor(index) for name, index in self._wanted}
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            message = f"expected input that {self._name} takes, got {tuple(images.shape)}"
            raise InvalidInput(f"{message}: {reason}") from error
        return {
            name: torch.from_numpy(np.array(array))[:count]
            for name, array in found.items()
            if np.ndim(array) and np.asarray(array).dtype.kind in "biuf"
        }


def _open_interpreter(path: Path) -> Any:  # noqa: ANN401 - a foreign type
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        message = 'expected ai-edge-litert for a .tflite model; pip install "pytest-fgmf[litert]"'
        raise MissingDependency(message) from error
    try:
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        message = f"expected a readable LiteRT model in {path}"
        raise InvalidInput(f"{message}: {reason}") from error
    return interpreter
