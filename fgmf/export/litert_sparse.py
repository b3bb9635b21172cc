"""LiteRT files with weights that are stored by their places: smaller files, no speed.

for each constant float32 tensor with at least half zeros, of two axes or more:
    values that are not zero, row after row
    the last axis by its filled places (CSR), all other axes dense
    a node DENSIFY in front of the graph makes the tensor that the other nodes read

The interpreter makes the weights dense when it loads the file, like ONNX Runtime does. What the
format calls a sparse kernel needs blocks and an ARM processor; it is not used here.

Source: the format's own schema (`SparsityParameters`, operator DENSIFY).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from fgmf.errors import InvalidInput, MissingDependency

_IDENTIFIER: Final = b"TFL3"
_LEAST_SHARE: Final = 0.5


def sparsely_stored(contents: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Store weights with many zeros sparsely.

    Args:
        contents: Of a ``.tflite`` file with one graph.

    Returns:
        Contents of the new file, and the names of the weights that are stored sparsely now.

    Raises:
        InvalidInput: No LiteRT file, or one with several graphs.
        MissingDependency: ai-edge-litert or flatbuffers is not installed.
    """
    schema, flatbuffers = _packages()
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(contents), 0))
        (graph,) = model.subgraphs
    except Exception as error:
        message = "expected a LiteRT file with one graph"
        raise InvalidInput(f"{message}, got {type(error).__name__}") from error
    moved, operators = [], []
    for place in range(len(graph.tensors)):
        array = _weights(schema, model, graph, place)
        if array is not None and 1 - np.count_nonzero(array) / array.size >= _LEAST_SHARE:
            operators.append(_moved(schema, model, graph, place, array))
            moved.append(_text(graph.tensors[place].name))
    if not moved:
        return contents, ()
    code = len(model.operatorCodes)
    for operator in operators:
        operator.opcodeIndex = code
    entry = schema.OperatorCodeT()
    entry.builtinCode = schema.BuiltinOperator.DENSIFY
    entry.deprecatedBuiltinCode, entry.version = schema.BuiltinOperator.DENSIFY, 1
    model.operatorCodes.append(entry)
    graph.operators = [*operators, *graph.operators]
    builder = flatbuffers.Builder(len(contents))
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output()), tuple(moved)


def _weights(schema: Any, model: Any, graph: Any, place: int) -> Any:  # noqa: ANN401 - foreign
    """What a tensor holds, if it is a constant matrix or filter of float32; else None."""
    tensor = graph.tensors[place]
    shape = () if tensor.shape is None else tuple(int(length) for length in tensor.shape)
    data = model.buffers[tensor.buffer].data
    alone = place not in {*map(int, graph.inputs), *map(int, graph.outputs)}
    floating = tensor.type == schema.TensorType.FLOAT32 and tensor.sparsity is None
    if not alone or not floating or len(shape) < 2 or data is None:
        return None
    array = np.frombuffer(bytes(data), dtype="<f4")
    if array.size != int(np.prod(shape)) or not array.any():
        return None
    # A minus zero is a value that the dense form holds.
    signed = np.signbit(array) & (array == 0)
    return None if signed.any() else array.reshape(shape)


def _moved(schema: Any, model: Any, graph: Any, place: int, array: Any) -> Any:  # noqa: ANN401 - foreign
    """Put the values into a tensor of their own, and return the operator that fills the old one."""
    rows = array.reshape(-1, array.shape[-1])
    filled = rows != 0
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(rows[filled].astype("<f4").tobytes(), dtype=np.uint8)
    model.buffers.append(buffer)
    old = graph.tensors[place]
    sparse = schema.TensorT()
    sparse.shape, sparse.type, sparse.hasRank = old.shape, old.type, old.hasRank
    sparse.name = _text(old.name) + "/sparse"
    sparse.buffer = len(model.buffers) - 1
    sparse.sparsity = schema.SparsityParametersT()
    sparse.sparsity.traversalOrder = list(range(array.ndim))
    sparse.sparsity.dimMetadata = [
        *(_dense_axis(schema, length) for length in array.shape[:-1]),
        _sparse_axis(schema, filled),
    ]
    graph.tensors.append(sparse)
    before, old.buffer = old.buffer, 0  # the empty one, by the format
    if all(tensor.buffer != before for one in model.subgraphs for tensor in one.tensors):
        model.buffers[before].data = None
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [len(graph.tensors) - 1], [place]
    operator.builtinOptionsType = schema.BuiltinOptions.DensifyOptions
    operator.builtinOptions = schema.DensifyOptionsT()
    return operator


def _dense_axis(schema: Any, length: int) -> Any:  # noqa: ANN401 - foreign
    axis = schema.DimensionMetadataT()
    axis.format, axis.denseSize = schema.DimensionType.DENSE, int(length)
    return axis


def _sparse_axis(schema: Any, filled: Any) -> Any:  # noqa: ANN401 - foreign
    """The last axis: where the values of each row begin, and the place of each in its row."""
    axis = schema.DimensionMetadataT()
    axis.format = schema.DimensionType.SPARSE_CSR
    begins = np.concatenate([[0], np.cumsum(filled.sum(axis=1))])
    places = np.nonzero(filled)[1]
    axis.arraySegmentsType, axis.arraySegments = _numbers(schema, begins)
    axis.arrayIndicesType, axis.arrayIndices = _numbers(schema, places)
    return axis


def _numbers(schema: Any, values: Any) -> tuple[Any, Any]:  # noqa: ANN401 - foreign
    """The smallest vector of the format that holds these numbers."""
    largest, codes = int(values.max(initial=0)), schema.SparseIndexVector
    vectors: tuple[tuple[Any, Any, Any], ...] = (
        (np.uint8, schema.Uint8VectorT, codes.Uint8Vector),
        (np.uint16, schema.Uint16VectorT, codes.Uint16Vector),
        (np.int32, schema.Int32VectorT, codes.Int32Vector),
    )
    number, make, code = next(each for each in vectors if largest <= np.iinfo(each[0]).max)
    vector = make()
    vector.values = values.astype(number)
    return code, vector


def _text(name: bytes | str | None) -> str:
    return name.decode() if isinstance(name, bytes) else name or ""


def _packages() -> tuple[Any, Any]:
    from importlib import import_module

    try:
        schema = import_module("ai_edge_litert.schema_py_generated")
        return schema, import_module("flatbuffers")
    except ImportError as error:
        message = (
            'expected ai-edge-litert to store weights sparsely; pip install "pytest-fgmf[litert]"'
        )
        raise MissingDependency(message) from error
