from __future__ import annotations

import json
import os
import struct
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fgmf.canonical import (
    canonical_json,
    finite_or_none,
    json_digest,
    row_digests,
    tensor_digest,
    write_atomically,
)
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

# RFC 8785, section 3.2.2 (input) and 3.2.4 (bytes).
RFC_INPUT = r"""{
  "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
  "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
  "literals": [null, true, false]
}"""
RFC_OUTPUT = (
    '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
    '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
).encode()

# RFC 8785, appendix B: IEEE-754 bits and their text.
RFC_NUMBERS = [
    (0x0000000000000000, b"0"),
    (0x8000000000000000, b"0"),
    (0x0000000000000001, b"5e-324"),
    (0x8000000000000001, b"-5e-324"),
    (0x7FEFFFFFFFFFFFFF, b"1.7976931348623157e+308"),
    (0x4340000000000000, b"9007199254740992"),
    (0x4430000000000000, b"295147905179352830000"),
    (0x44B52D02C7E14AF5, b"9.999999999999997e+22"),
    (0x44B52D02C7E14AF6, b"1e+23"),
    (0x44B52D02C7E14AF7, b"1.0000000000000001e+23"),
    (0x444B1AE4D6E2EF50, b"1e+21"),
    (0x3EB0C6F7A0B5ED8C, b"9.999999999999997e-7"),
    (0x3EB0C6F7A0B5ED8D, b"0.000001"),
    (0x41B3DE4355555555, b"333333333.3333333"),
    (0x43143FF3C1CB0959, b"1424953923781206.2"),
]

# RFC 8785, section 3.2.3: keys are sorted as UTF-16, not by code point.
RFC_KEYS = ["\r", "1", "\u0080", "ö", "€", "\U0001f600", "\ufb33"]

documents: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


def test_the_example_of_the_rfc() -> None:
    assert canonical_json(json.loads(RFC_INPUT)) == RFC_OUTPUT


@pytest.mark.parametrize(("bits", "text"), RFC_NUMBERS)
def test_the_numbers_of_the_rfc(bits: int, text: bytes) -> None:
    (number,) = struct.unpack(">d", bits.to_bytes(8, "big"))
    assert canonical_json(number) == text


def test_the_key_order_of_the_rfc() -> None:
    written = canonical_json(dict.fromkeys(sorted(RFC_KEYS), 0))
    assert list(json.loads(written)) == RFC_KEYS


@given(documents)
def test_nothing_is_lost(document: Any) -> None:
    # JSON has one kind of number, so large floats come back as equal ones, not as integers.
    assert json.loads(canonical_json(document), parse_int=float) == document


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), documents, max_size=5))
def test_the_order_of_keys_does_not_change_the_digest(document: dict[str, Any]) -> None:
    turned = dict(reversed(document.items()))
    assert json_digest(turned) == json_digest(document)


@given(documents, documents)
def test_documents_with_one_digest_are_equal(first: Any, second: Any) -> None:
    assert first == second or json_digest(first) != json_digest(second)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), {"a": [float("nan")]}])
def test_a_number_that_json_lacks_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidInput, match="finite"):
        canonical_json(bad)


@pytest.mark.parametrize("bad", [2**60, object(), {1: 2}, b"x", "\ud800", {"\ud800": 1}])
def test_what_is_not_json_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidInput):
        canonical_json(bad)


def test_the_json_digest_is_the_same_for_ever() -> None:
    assert json_digest({"b": 1.0, "a": []}) == (
        "sha256:1c8f8816506a8ccbc55140d8a7bb70214a8942c7030fc0fc2914cec675cd1c15"
    )


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float32,
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.uint8,
        torch.bool,
    ],
)
def test_a_tensor_has_one_digest_however_it_lies_in_memory(dtype: torch.dtype) -> None:
    tensor = torch.arange(6).reshape(2, 3).to(dtype)
    strided = tensor.t().contiguous().t()
    assert not strided.is_contiguous()
    assert tensor_digest(strided) == tensor_digest(tensor)


def test_tensors_that_differ_in_any_way_have_other_digests() -> None:
    tensor = torch.zeros(2, 3)
    others = [
        tensor.reshape(3, 2),
        tensor.double(),
        tensor.int(),
        torch.zeros(2, 3).index_fill(0, torch.tensor(0), 1e-30),
        torch.zeros(0),
        torch.zeros(0, 3),
        torch.zeros(()),
    ]
    digests = {tensor_digest(t) for t in [tensor, *others]}
    assert len(digests) == len(others) + 1


@pytest.mark.parametrize("shape", [(3, 2, 4, 4), (3, 5), (3,), (0, 2), (3, 0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.uint8])
def test_digests_of_rows_are_those_of_each_row(shape: Any, dtype: torch.dtype) -> None:
    rows = (100 * torch.rand(shape)).to(dtype)
    assert row_digests(rows) == [tensor_digest(row) for row in rows]
    turned = torch.stack([rows, rows], dim=-1)[..., 0]  # not contiguous
    assert row_digests(turned) == [tensor_digest(row) for row in rows]


def test_the_tensor_digest_is_the_same_for_ever() -> None:
    digest = tensor_digest(torch.tensor([[1.0, 2.0]], requires_grad=True))
    # SHA-256 of b"float32:(1, 2):" and the eight bytes.
    assert digest == "sha256:5c264f74dd4651204c0dde4652bb91a1a1659d96bb1b672db9466b2e0933f6fe"


def test_numbers_that_json_lacks_become_none() -> None:
    assert [finite_or_none(v) for v in (1.5, float("nan"), float("inf"))] == [1.5, None, None]


def test_a_file_appears_whole_and_readable(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "report.json"
    write_atomically(path, b"first")
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert [entry.name for entry in path.parent.iterdir()] == ["report.json"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_new_file_is_as_private_as_the_user_wants(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "report.json", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "report.json").stat().st_mode & 0o777 == mode


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.json"
    write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]
