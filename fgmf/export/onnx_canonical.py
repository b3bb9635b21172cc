"""Digests of everything that an ONNX file says: one for each tensor, node, and for the rest.

    tensor   name, element type, shape, contents      # however they are stored: raw, typed, sparse
    node     every field, attributes and subgraphs too
    rest     every other field of the model: inputs, outputs, versions, functions, metadata
    graph    SHA-256 over all of them

Nothing is left out but the provenance itself, which holds these digests. Fields that this version
of the format does not know, weights in other files, and names that stand twice are refused: two
readers could read two models out of such a file.

This and `onnx_files` are the modules that import `onnx`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from onnx import numpy_helper

from fgmf.canonical import json_digest
from fgmf.errors import InvalidInput, StaleEvidence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgmf.types import Json

PROVENANCE_KEY: Final = "fgmf.provenance"
"""The entry of `metadata_props` that holds the provenance, canonical JSON."""
_DATA_FIELDS: Final = frozenset(
    {
        *("dims", "data_type", "raw_data", "float_data", "int32_data", "int64_data"),
        *("double_data", "uint64_data", "string_data", "name", "data_location"),
    }
)


@dataclass(frozen=True, kw_only=True)
class GraphDigests:
    """What an ONNX file says, as digests.

    Attributes:
        tensors: Of every initializer, by name.
        nodes: Of every node in order: its name, its operator, its digest.
        rest: Of everything else but the provenance.
    """

    tensors: Mapping[str, str]
    nodes: tuple[tuple[str, str, str], ...]
    rest: str

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` over all of it: the same for dense and sparse storage."""
        return json_digest(self.as_document())

    def as_document(self) -> dict[str, Json]:
        """Return the digests as JSON."""
        nodes: list[Json] = [list(node) for node in self.nodes]
        return {"tensors": dict(self.tensors), "nodes": nodes, "rest": self.rest}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> GraphDigests:
        """Rebuild them.

        Raises:
            StaleEvidence: A member is missing or of a wrong type.
        """
        try:
            tensors = {str(name): str(digest) for name, digest in document["tensors"].items()}
            nodes = tuple((str(n), str(op), str(d)) for n, op, d in document["nodes"])
            return cls(tensors=tensors, nodes=nodes, rest=str(document["rest"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StaleEvidence(f"expected the digests of a graph, got: {error!r:.80}") from None

    def differences(self, now: GraphDigests) -> list[str]:
        """Say in words what is another in a later look; empty if nothing is."""
        found = [
            f"weights {name!r} were {_change(self.tensors.get(name), now.tensors.get(name))}"
            for name in sorted(self.tensors.keys() | now.tensors.keys())
            if self.tensors.get(name) != now.tensors.get(name)
        ]
        if len(self.nodes) != len(now.nodes):
            found.append(f"there are {len(now.nodes)} nodes, and {len(self.nodes)} were exported")
        else:
            pairs = zip(self.nodes, now.nodes, strict=True)
            found += [
                f"node {number} ({was[1]} {was[0]!r}) was changed"
                + (f" to {is_now[1]}" if was[1] != is_now[1] else "")
                for number, (was, is_now) in enumerate(pairs)
                if was != is_now
            ]
        if self.rest != now.rest:
            found.append("inputs, outputs, versions, functions or metadata were changed")
        return found


def digests_of(model: onnx.ModelProto) -> GraphDigests:
    """Return the digests of a model.

    Raises:
        InvalidInput: It has unknown fields, weights in other files, or a name twice.
    """
    tensors: dict[str, str] = {}
    for tensor in model.graph.initializer:
        _add(tensors, tensor.name, _hashed(_tensor(tensor)))
    for sparse in model.graph.sparse_initializer:
        _add(tensors, sparse.values.name, _hashed(_tensor(dense_of(sparse))))
    nodes = tuple((n.name, n.op_type, _hashed(_canonical(n))) for n in model.graph.node)
    rest = _canonical(model, besides={"graph", "metadata_props"})
    graph = _canonical(model.graph, besides={"node", "initializer", "sparse_initializer"})
    metadata = [_canonical(e) for e in model.metadata_props if e.key != PROVENANCE_KEY]
    return GraphDigests(tensors=tensors, nodes=nodes, rest=_hashed([rest, graph, metadata]))


def dense_of(sparse: onnx.SparseTensorProto) -> onnx.TensorProto:
    """Return a sparse tensor with its zeros.

    Raises:
        InvalidInput: Indices that are none, outside of it, or not in order.
    """
    values, indices = array_of(sparse.values), array_of(sparse.indices)
    shape = tuple(sparse.dims)
    count = int(np.prod(shape, dtype=np.int64))
    sound = indices.ndim == 1 and indices.shape == values.shape and indices.dtype == np.int64
    inside = not len(indices) or (indices[0] >= 0 and indices[-1] < count)
    if not sound or not inside or not bool((np.diff(indices) > 0).all()):
        message = f"expected ascending linear indices in sparse weights {sparse.values.name!r}"
        raise InvalidInput(f"{message}; nothing else can be told apart safely")
    dense = np.zeros(count, dtype=values.dtype)
    dense[indices] = values
    return numpy_helper.from_array(dense.reshape(shape), sparse.values.name)


def array_of(tensor: onnx.TensorProto) -> Any:  # noqa: ANN401 - an array of any element type
    """Return what a tensor holds.

    Raises:
        InvalidInput: Contents that do not fit its shape and type.
    """
    try:
        return numpy_helper.to_array(tensor)
    except Exception as error:
        message = f"expected contents of {tensor.name!r} that fit its shape and type"
        raise InvalidInput(f"{message}, got {type(error).__name__}") from error


def _add(tensors: dict[str, str], name: str, digest: str) -> None:
    if name in tensors:
        raise InvalidInput(f"expected every weight once, got {name!r} twice")
    tensors[name] = digest


def _canonical(message: Any, *, besides: frozenset[str] | set[str] = frozenset()) -> Json:  # noqa: ANN401 - any protobuf message
    """Every field that is set, by name; tensors by what they hold."""
    _refuse_unknown(message)
    if isinstance(message, onnx.TensorProto):
        return _tensor(message)
    fields: dict[str, Json] = {}
    for descriptor, value in message.ListFields():
        if descriptor.name not in besides:
            repeated = not isinstance(value, str | bytes) and hasattr(value, "__len__")
            entries: list[Json] = [_plain(entry) for entry in value] if repeated else []
            fields[descriptor.name] = entries if repeated else _plain(value)
    return fields


def _plain(value: Any) -> Json:  # noqa: ANN401 - any value of a protobuf field
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, bool | str):
        return value
    return {"int": str(value)} if isinstance(value, int) else _canonical(value)


def _tensor(tensor: onnx.TensorProto) -> Json:
    _refuse_unknown(tensor)
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        message = f"expected all weights inside the file, got {tensor.name!r} in another one"
        raise InvalidInput(f"{message}; export with external_data=False")
    others = _canonical_fields(tensor)
    if tensor.data_type == onnx.TensorProto.STRING:
        contents = _hashed([entry.hex() for entry in tensor.string_data])
    else:
        array = array_of(tensor)
        contents = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    shape: list[Json] = [str(length) for length in tensor.dims]
    return [tensor.name, str(tensor.data_type), shape, contents, others]


def _canonical_fields(tensor: onnx.TensorProto) -> Json:
    fields: dict[str, Json] = {}
    for descriptor, value in tensor.ListFields():
        if descriptor.name not in _DATA_FIELDS:
            repeated = not isinstance(value, str | bytes) and hasattr(value, "__len__")
            entries: list[Json] = [_plain(entry) for entry in value] if repeated else []
            fields[descriptor.name] = entries if repeated else _plain(value)
    return fields


def _refuse_unknown(message: Any) -> None:  # noqa: ANN401 - any protobuf message
    from google.protobuf.unknown_fields import UnknownFieldSet

    if len(UnknownFieldSet(message)):
        raise InvalidInput(
            f"expected fields that this version of ONNX knows, got others in a "
            f"{type(message).__name__}; another reader could see another model in them"
        )


def _hashed(value: Json) -> str:
    return json_digest(value)


def _change(was: str | None, now: str | None) -> str:
    if was is None:
        return "added"
    return "removed" if now is None else "changed"
