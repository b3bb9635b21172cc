"""The idx format: strict in header and length."""

from __future__ import annotations

import gzip
import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgmf.datasets.idx import read_idx
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def idx(array: np.ndarray) -> bytes:
    """Encode an array of bytes as idx."""
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def test_plain_and_compressed(tmp_path: Path) -> None:
    plain, packed = tmp_path / "images", tmp_path / "images.gz"
    plain.write_bytes(idx(IMAGES))
    packed.write_bytes(gzip.compress(idx(IMAGES)))
    for path in (plain, packed):
        array = read_idx(path, axes=3)
        assert array.dtype == np.uint8
        assert np.array_equal(array, IMAGES)
        assert array.flags.writeable


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "first bytes of an empty file"),
        (b"\x00\x00\x08", "got first bytes 000008"),
        (b"\x00\x00\x0d\x03" + bytes(12), "got first bytes 00000d03"),
        (idx(IMAGES[0]), "with 3 axes .* got first bytes 00000802"),
        (b"\x08\x00\x00\x03" + bytes(40), "got first bytes 08000003"),
        (idx(IMAGES)[:10], "cut header"),
        (idx(IMAGES)[:-1], "24 bytes for shape .* got only 23"),
        (idx(IMAGES) + b"\x00", "got more"),
        (idx(IMAGES[:0]), r"got shape \(0, 3, 4\)"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12, "bytes in .* got shape"),
    ],
)
def test_broken_files(tmp_path: Path, contents: bytes, message: str) -> None:
    plain, packed = tmp_path / "images", tmp_path / "images.gz"
    plain.write_bytes(contents)
    packed.write_bytes(gzip.compress(contents))
    for path in (plain, packed):
        with pytest.raises(InvalidInput, match=message):
            read_idx(path, axes=3)


def test_broken_compression(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    for contents in (b"not gzip at all", gzip.compress(idx(IMAGES))[:-12]):
        path.write_bytes(contents)
        with pytest.raises(InvalidInput, match="readable idx file"):
            read_idx(path, axes=3)
    with pytest.raises(InvalidInput, match="No such file"):
        read_idx(tmp_path / "missing", axes=3)


@given(data=st.data())
def test_a_cut_or_grown_file_is_never_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    contents = idx(IMAGES)
    changed = data.draw(
        st.one_of(
            st.integers(0, len(contents) - 1).map(lambda length: contents[:length]),
            st.binary(min_size=1, max_size=9).map(lambda more: contents + more),
        )
    )
    path = tmp_path_factory.mktemp("idx") / "images"
    path.write_bytes(changed)
    with pytest.raises(InvalidInput):
        read_idx(path, axes=3)
