from __future__ import annotations

import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from fgmf.errors import BrokenRecord, InvalidInput
from fgmf.mask_log.records import NO_RECORD, decode_record, encode_canonical, encode_record

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=12,
)
_BODIES = st.dictionaries(_TEXTS, _VALUES, max_size=5)


@given(body=_BODIES)
def test_every_document_is_written_as_rfc_8785_says(body: dict) -> None:
    assert encode_canonical(body) == rfc8785.dumps(body)


@given(body=_BODIES, seq=st.integers(0, 2**50))
def test_a_record_comes_back(body: dict, seq: int) -> None:
    line, written = encode_record(kind="note", seq=seq, at=5, prev=NO_RECORD, body=body)
    record = decode_record(line)
    assert (record.kind, record.seq, record.at, record.prev) == ("note", seq, 5, NO_RECORD)
    assert rfc8785.dumps(record.body) == rfc8785.dumps(body)
    assert record.leaf == written.leaf
    assert json.loads(line)["sha256"] == written.leaf.hex()
    assert line == rfc8785.dumps(json.loads(line, parse_int=_number)) + b"\n"


def _number(digits: str) -> int | float:
    value = int(digits)
    return value if abs(value) < 2**53 else float(value)


@given(body=_BODIES, data=st.data())
def test_no_flipped_bit_is_read(body: dict, data: st.DataObject) -> None:
    line, _ = encode_record(kind="note", seq=1, at=5, prev=NO_RECORD, body=body)
    at = data.draw(st.integers(0, len(line) * 8 - 1))
    flipped = bytearray(line)
    flipped[at // 8] ^= 1 << at % 8
    with pytest.raises(BrokenRecord):
        decode_record(bytes(flipped))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**60, "\ud800", {1: 2}, object()])
def test_what_is_no_json_is_not_written(value: object) -> None:
    with pytest.raises(InvalidInput):
        encode_record(kind="note", seq=0, at=0, prev=NO_RECORD, body={"x": value})


@pytest.mark.parametrize(
    "core",
    [
        b'{"at":1,"body":{},"kind":"note","prev":"%b","seq":0 }',
        b'{"at":1,"at":1,"body":{},"kind":"note","prev":"%b","seq":0}',
        b'{"body":{},"at":1,"kind":"note","prev":"%b","seq":0}',
        b'{"at":1.0,"body":{},"kind":"note","prev":"%b","seq":0}',
        b'{"at":1,"body":{"x":NaN},"kind":"note","prev":"%b","seq":0}',
        b'{"at":1,"body":{},"kind":"note","prev":"%b","seq":true}',
        b'{"at":1,"body":[],"kind":"note","prev":"%b","seq":0}',
        b'{"at":1,"body":{},"kind":"note","prev":"00","seq":0}',
        b'{"at":1,"body":{"x":"\xff"},"kind":"note","prev":"%b","seq":0}',
        b'{"at":1,"body":' + b"[" * 100_000 + b',"kind":"note","prev":"%b","seq":0}',
    ],
)
def test_a_good_digest_does_not_make_a_record(core: bytes) -> None:
    from fgmf.mask_log.tree import leaf_hash

    core = core.replace(b"%b", NO_RECORD.hex().encode())
    line = core[:-1] + b',"sha256":"' + leaf_hash(core).hex().encode() + b'"}\n'
    with pytest.raises(BrokenRecord):
        decode_record(line)
