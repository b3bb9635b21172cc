"""The idx format of MNIST and its relatives: big-endian header, then bytes.

0x00 0x00  type  axes  | length of each axis, 4 bytes big-endian | values
type 0x08 is unsigned byte, the only one read here
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from io import BufferedIOBase
    from pathlib import Path

_UNSIGNED_BYTE = 0x08
_LARGEST = 2**31


def read_idx(path: Path, *, axes: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Read an idx file of unsigned bytes.

    Args:
        path: The file; compressed with gzip if its name ends with ``.gz``.
        axes: Expected number of axes: 3 for images, 1 for labels.

    Returns:
        uint8 array with `axes` axes, its own memory.

    Raises:
        InvalidInput: The file cannot be read, is not idx, has other axes or another type, an
            axis of length zero, more than 2 GiB, or bytes too few or too many.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return _parsed(stream, path, axes)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"expected a readable idx file at {path}, got: {error}") from error


def _parsed(
    stream: BufferedIOBase, path: Path, axes: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    expected = bytes((0, 0, _UNSIGNED_BYTE, axes))
    start = stream.read(4)
    if start != expected:
        raise InvalidInput(
            f"expected an idx file of unsigned bytes with {axes} axes at {path} (first bytes "
            f"{expected.hex()}), got first bytes {start.hex() or 'of an empty file'}"
        )
    lengths = stream.read(4 * axes)
    if len(lengths) != 4 * axes:
        raise InvalidInput(f"expected the lengths of {axes} axes in {path}, got a cut header")
    shape = struct.unpack(f">{axes}I", lengths)
    size = math.prod(shape)
    if not 0 < size <= _LARGEST:
        raise InvalidInput(f"expected 1 to {_LARGEST} bytes in {path}, got shape {shape}")
    contents = stream.read(size + 1)
    if len(contents) != size:
        amount = "more" if len(contents) > size else f"only {len(contents)}"
        raise InvalidInput(f"expected {size} bytes for shape {shape} in {path}, got {amount}")
    return np.frombuffer(contents, dtype=np.uint8).reshape(shape).copy()
