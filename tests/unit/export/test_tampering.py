"""Every change of an exported file is found: of any tensor, node, attribute, name, or metadata."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from fgmf.errors import InvalidInput
from fgmf.export import Anchors, Provenance, sign_export, verify_export
from fgmf.export.onnx_canonical import PROVENANCE_KEY, digests_of
from fgmf.export.onnx_files import embed_provenance, sparsely_stored
from fgmf.mask_log.signing import Signer
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from unit.export.conftest import Shipped

KEY = Signer(bytes(32), name="release")
ANCHORS = Anchors(public_key=KEY.verifier.text())
QUICK = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def signed(shipped: Shipped, copied: Path) -> Path:
    sign_export(copied, shipped.exported.provenance, KEY)
    assert verify_export(copied, ANCHORS).outcome is Outcome.PASS
    return copied


def _messages(message: Any, depth: int = 0) -> list[Any]:
    """All messages below a message, itself first."""
    found = [message]
    for descriptor, value in message.ListFields():
        if descriptor.type == descriptor.TYPE_MESSAGE and depth < 6:
            repeated = hasattr(value, "__len__") and not hasattr(value, "ListFields")
            for entry in value if repeated else [value]:
                found += _messages(entry, depth + 1)
    return found


def _change(message: Any, draw: st.DrawFn) -> bool:
    """Change one field that is set; say whether there was one."""
    fields = [
        (descriptor, value)
        for descriptor, value in message.ListFields()
        if descriptor.type != descriptor.TYPE_MESSAGE
    ]
    if not fields:
        return False
    descriptor, value = draw(st.sampled_from(fields))
    repeated = hasattr(value, "__len__") and not isinstance(value, str | bytes)
    at = draw(st.integers(0, len(value) - 1)) if repeated and len(value) else 0
    old = value[at] if repeated else value
    if isinstance(old, bytes):
        position = draw(st.integers(0, max(0, len(old) - 1)))
        changed: Any = bytearray(old or b"\x00")
        changed[position] ^= draw(st.integers(1, 255))
        changed = bytes(changed)
    elif isinstance(old, str):
        changed = old + draw(st.sampled_from(["x", " ", "_1"]))
    elif isinstance(old, float):
        changed = np.nextafter(np.float32(old), np.float32(np.inf)).item()
    else:
        changed = old + draw(st.sampled_from([-1, 1, 7]))
        if descriptor.type == descriptor.TYPE_ENUM:
            changed = abs(changed) % 3 if abs(changed) % 3 != old else (old + 1) % 3
    if repeated:
        value[at] = changed
    else:
        setattr(message, descriptor.name, changed)
    return True


@QUICK
@given(data=st.data())
def test_any_changed_field_is_found(signed: Path, data: st.DataObject) -> None:
    """Any field of any message of the file, tensors' contents and metadata included."""
    model = onnx.load(signed)
    whole = signed.read_bytes()
    message = data.draw(st.sampled_from(_messages(model)).filter(lambda m: bool(m.ListFields())))
    if not _change(message, data.draw):
        return
    contents = model.SerializeToString()
    path = signed.with_name("changed.onnx")
    path.write_bytes(contents)
    if contents == whole:
        return
    try:
        report = verify_export(
            path,
            Anchors(public_key=KEY.verifier.text(), signature=signed.with_name("model.onnx.sig")),
        )
    except InvalidInput:
        return  # no model any more
    assert report.outcome is Outcome.FAIL
    path.unlink()


@QUICK
@given(at=st.floats(0, 1), bits=st.integers(1, 255))
def test_any_changed_byte_is_found_or_says_the_same(signed: Path, at: float, bits: int) -> None:
    whole = bytearray(signed.read_bytes())
    whole[min(len(whole) - 1, int(at * len(whole)))] ^= bits
    path = signed.with_name("changed.onnx")
    path.write_bytes(bytes(whole))
    anchors = Anchors(public_key=KEY.verifier.text(), signature=signed.with_name("model.onnx.sig"))
    try:
        report = verify_export(path, anchors)
    except InvalidInput:
        return  # no model any more
    if report.outcome is Outcome.PASS:  # other bytes, read as the same message
        read = onnx.load(path).SerializeToString(deterministic=True)
        assert read == onnx.load(signed).SerializeToString(deterministic=True)
    else:
        assert report.outcome is Outcome.FAIL


def _activation_gone(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Identity"


def _attribute(model: onnx.ModelProto) -> None:
    node = next(n for n in model.graph.node if any(a.name == "ceil_mode" for a in n.attribute))
    next(a for a in node.attribute if a.name == "ceil_mode").i = 0


def _new_attribute(model: onnx.ModelProto) -> None:
    node = next(n for n in model.graph.node if n.op_type == "Gemm")
    node.attribute.append(helper.make_attribute("beta", 0.999))


def _weight(model: onnx.ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if len(t.dims) == 4)
    array = numpy_helper.to_array(tensor).copy()
    array.reshape(-1)[0] = np.nextafter(array.reshape(-1)[0], np.float32(9))
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _zero_filled(model: onnx.ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if "head" in t.name and len(t.dims) == 2)
    array = numpy_helper.to_array(tensor).copy()
    array.reshape(-1)[np.flatnonzero(array == 0)[0]] = 1e-30
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _swapped(model: onnx.ModelProto) -> None:
    node = next(n for n in model.graph.node if n.op_type in {"Sub", "Div"})
    first, second = node.input
    node.input[:] = [second, first]


def _more(model: onnx.ModelProto) -> None:
    last = model.graph.node[-1]
    last.output[0] = "before"
    model.graph.node.append(helper.make_node("Identity", ["before"], ["logits"]))


def _opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version += 1


def _metadata(model: onnx.ModelProto) -> None:
    entry = model.metadata_props.add()
    entry.key, entry.value = "licence", "another"


def _claim(model: onnx.ModelProto) -> None:
    entry = next(e for e in model.metadata_props if e.key == PROVENANCE_KEY)
    document = json.loads(entry.value)
    document["verdicts"] = [{"gate": "robust", "kind": "robustness", "outcome": "pass"}]
    entry.value = Provenance.from_text(entry.value).text()
    entry.value = json.dumps(document, separators=(",", ":"), sort_keys=True)


def _stripped(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]


CHANGES = [
    _activation_gone,
    _attribute,
    _new_attribute,
    _weight,
    _zero_filled,
    _swapped,
    _more,
    _opset,
    _metadata,
    _claim,
    _stripped,
]


@pytest.mark.parametrize("change", CHANGES)
def test_changes_that_somebody_would_make_are_found(signed: Path, change: Any) -> None:
    model = onnx.load(signed)
    before = model.SerializeToString(deterministic=True)
    change(model)
    assert model.SerializeToString(deterministic=True) != before
    onnx.save(model, signed)
    report = verify_export(signed, ANCHORS)
    assert report.outcome is Outcome.FAIL
    assert report.troubles


@pytest.mark.parametrize("change", [_activation_gone, _weight, _zero_filled, _new_attribute])
def test_a_forger_who_writes_the_digests_anew_is_found(signed: Path, change: Any) -> None:
    """The file agrees with itself then; what is kept outside does not."""
    from dataclasses import replace

    from fgmf.sparsity import TensorPattern

    model = onnx.load(signed)
    entry = next(e for e in model.metadata_props if e.key == PROVENANCE_KEY)
    provenance = Provenance.from_text(entry.value)
    change(model)
    digests = digests_of(model)
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    patterns = dict(provenance.patterns)
    for name in patterns:
        place = provenance.names[name]
        if place is not None:
            import torch

            array = stored[place.removesuffix("^T")]
            array = array.T if place.endswith("^T") else array
            patterns[name] = TensorPattern.of(torch.from_numpy(array.copy())).digest
    forged = replace(
        provenance, graph=digests.digest, parts=digests.as_document(), patterns=patterns
    )
    embed_provenance(model, forged.text())
    onnx.save(model, signed)
    assert verify_export(signed).outcome is Outcome.INCONCLUSIVE
    assert verify_export(signed, ANCHORS).outcome is Outcome.FAIL


def test_what_was_changed_is_named(signed: Path) -> None:
    model = onnx.load(signed)
    _activation_gone(model)
    _weight(model)
    onnx.save(model, signed)
    text = " ".join(verify_export(signed, ANCHORS).troubles)
    assert "to Identity" in text
    assert "weights 'module" in text


def test_filled_zeros_are_named_as_a_pattern(signed: Path) -> None:
    model = onnx.load(signed)
    _zero_filled(model)
    onnx.save(model, signed)
    assert "sparsity pattern" in " ".join(verify_export(signed, ANCHORS).troubles)


def test_fields_of_a_later_version_are_refused(signed: Path) -> None:
    signed.write_bytes(signed.read_bytes() + b"\xf8\x3f\x01")  # field 1023, a number
    report = verify_export(signed, ANCHORS)
    assert report.outcome is Outcome.FAIL
    assert "another reader could see another model" in report.reason


def test_weights_in_other_files_are_refused(signed: Path) -> None:
    model = onnx.load(signed)
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../elsewhere"
    signed.write_bytes(model.SerializeToString())
    report = verify_export(signed, ANCHORS)
    assert report.outcome is Outcome.FAIL
    assert "inside the file" in report.reason


def test_sparse_storage_has_the_digest_of_dense_storage(copied: Path) -> None:
    model = onnx.load(copied)
    dense = digests_of(model)
    assert sparsely_stored(model)
    assert digests_of(model).digest == dense.digest
    entry = model.graph.sparse_initializer[0]
    indices = numpy_helper.to_array(entry.indices).copy()
    indices[:2] = indices[1::-1]
    entry.indices.CopyFrom(numpy_helper.from_array(indices, entry.indices.name))
    with pytest.raises(InvalidInput, match="ascending"):
        digests_of(model)
