"""Reading and writing ONNX files: the bridge to `onnx` and to torch's exporter."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import nn

from fgmf.canonical import write_atomically
from fgmf.errors import InvalidInput, MissingDependency

try:
    import onnx
    from onnx import numpy_helper
except ImportError as missing:
    raise MissingDependency(
        'expected onnx for exported models; pip install "pytest-fgmf[export]"'
    ) from missing

from fgmf.export.onnx_canonical import PROVENANCE_KEY, array_of, dense_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fgmf.types import Images

LARGEST_FILE: Final = 2**31 - 1
"""Bytes: what one protobuf message can hold."""


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """Where a parameter of the source stands in the file.

    Attributes:
        name: Of the initializer.
        transposed: Whether it stands there with its two axes swapped.
    """

    name: str
    transposed: bool = False


def graph_of(module: nn.Module, images: Images) -> onnx.ModelProto:
    """Export a module by torch's dynamo exporter, with batches of any size.

    Args:
        module: In evaluation mode.
        images: (2, ...) examples: with one, the exporter would take the size for a constant.

    Returns:
        A checked model with input ``images`` and output ``logits``, all weights inside.

    Raises:
        MissingDependency: onnxscript is not installed.
        InvalidInput: The exporter refuses the model, or the checker its result.
    """
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                (images,),
                dynamo=True,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
        model: onnx.ModelProto = program.model_proto  # type: ignore[union-attr]
        _without_notes(model)
        onnx.checker.check_model(model, full_check=True)
    except ImportError as error:
        message = 'expected onnxscript for the exporter; pip install "pytest-fgmf[export]"'
        raise MissingDependency(message) from error
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        message = "expected a model that torch.onnx.export takes"
        raise InvalidInput(f"{message}, got {type(error).__name__}: {reason}") from error
    return model


def read_model(path: Path) -> onnx.ModelProto:
    """Read an ONNX file; weights in other files are not followed.

    Raises:
        InvalidInput: It is none, or too large.
        OSError: It cannot be read.
    """
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise InvalidInput(f"expected an ONNX file of at most {LARGEST_FILE} bytes, got {size}")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except Exception as error:
        message = f"expected an ONNX model in {path}, got {type(error).__name__}"
        raise InvalidInput(message) from error
    if not model.graph.node:
        raise InvalidInput(f"expected an ONNX model in {path}, got a graph without nodes")
    return model


def write_model(model: onnx.ModelProto, path: Path) -> bytes:
    """Write a model as one file, whole or not at all; return its bytes."""
    contents: bytes = model.SerializeToString(deterministic=True)
    write_atomically(path, contents)
    return contents


def provenance_text(model: onnx.ModelProto) -> str | None:
    """Return the provenance that a model carries; None if it has none.

    Raises:
        InvalidInput: It has two.
    """
    found = [entry.value for entry in model.metadata_props if entry.key == PROVENANCE_KEY]
    if len(found) > 1:
        raise InvalidInput(f"expected one entry {PROVENANCE_KEY}, got {len(found)}")
    return found[0] if found else None


def embed_provenance(model: onnx.ModelProto, text: str) -> None:
    """Put the provenance into a model, in place of one that is there."""
    kept = [entry for entry in model.metadata_props if entry.key != PROVENANCE_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    entry = model.metadata_props.add()
    entry.key, entry.value = PROVENANCE_KEY, text


def stored_arrays(model: onnx.ModelProto) -> dict[str, Any]:
    """Return every initializer as an array, by name; sparse ones with their zeros."""
    dense = {t.name: array_of(t) for t in model.graph.initializer}
    sparse = (dense_of(entry) for entry in model.graph.sparse_initializer)
    return dense | {tensor.name: array_of(tensor) for tensor in sparse}


def name_map(
    source: Mapping[str, torch.Tensor], model: onnx.ModelProto
) -> dict[str, StoredTensor | None]:
    """Say where each parameter of the source stands in a file, by what it holds.

    Returns:
        By the parameter's name; None for those that the exporter folded into others.
    """
    stored = stored_arrays(model)
    return {name: _place(name, values, stored) for name, values in source.items()}


def sparsely_stored(model: onnx.ModelProto, *, least_share: float = 0.5) -> list[str]:
    """Store weights with many zeros as `sparse_initializer`, in place.

    A record of the pattern, and a smaller file from about 60 % zeros on; no speed: onnxruntime
    makes them dense when it loads them, and other engines (OpenVINO), the full check and the
    version converter refuse such files.

    Args:
        model: Changed in place; its graph digest stays the same.
        least_share: Of zeros, from which on a floating-point matrix or filter is stored so.

    Returns:
        Names of the weights that are stored sparsely now.
    """
    moved, kept = [], []
    for tensor in model.graph.initializer:
        array = array_of(tensor)
        # By bits: a minus zero is a value that the dense form holds.
        filled = np.ascontiguousarray(array).reshape(-1).view(f"u{array.dtype.itemsize}") != 0
        eligible = array.ndim >= 2 and array.dtype == np.float32
        if not eligible or 1.0 - filled.mean() < least_share or not filled.any():
            kept.append(tensor)
            continue
        indices = np.flatnonzero(filled).astype(np.int64)
        sparse = onnx.SparseTensorProto(dims=list(array.shape))
        sparse.values.CopyFrom(numpy_helper.from_array(array.reshape(-1)[indices], tensor.name))
        sparse.indices.CopyFrom(numpy_helper.from_array(indices, f"{tensor.name}_indices"))
        model.graph.sparse_initializer.append(sparse)
        moved.append(tensor.name)
    copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    del model.graph.initializer[:]
    model.graph.initializer.extend(copies)
    return moved


def _place(name: str, values: torch.Tensor, stored: Mapping[str, Any]) -> StoredTensor | None:
    array = values.detach().cpu().numpy()
    first = sorted(stored, key=lambda other: (other != name, not other.endswith(name), other))
    for other in first:
        if stored[other].shape == array.shape and np.array_equal(stored[other], array):
            return StoredTensor(name=other)
    if array.ndim == 2:
        for other in first:
            turned = stored[other].shape == array.T.shape
            if turned and np.array_equal(stored[other], array.T):
                return StoredTensor(name=other, transposed=True)
    return None


def _without_notes(model: onnx.ModelProto) -> None:
    """Take out what the exporter notes for debugging.

    Stack traces name files and lines of whoever exported, are longer than the weights of a small
    model, and differ from one export to the next.
    """
    graph = model.graph
    parts = (graph.node, graph.value_info, graph.input, graph.output, graph.initializer)
    for entry in (graph, *(entry for part in parts for entry in part)):
        del entry.metadata_props[:]
        entry.ClearField("doc_string")
    del graph.value_info[:]  # shapes that the checker and every engine infer anew


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter announces its own deprecations, and packages that are not there."""
    logger = logging.getLogger("torch.onnx")
    inner = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = logger.level, inner.level
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        inner.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(before[0])
            inner.setLevel(before[1])
