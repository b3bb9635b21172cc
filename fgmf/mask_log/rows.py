"""Samples of one batch as rows: what a leaf of the batch's Merkle tree is made of.

    row  = salt (16) | id | digest of the input (32) | for each array: digest, place, length, coding
    leaf = SHA-256(0x00 || row)
    root of the batch = RFC 6962 root over the leaves; it stands in the record

The salt makes a leaf say nothing about a sample once its row is erased. A layout says what the rows
of a batch look like; it is a record of its own, written once.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fgmf.errors import BrokenRecord, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fgmf.types import Json

SALT_BYTES: Final = 16
DIGEST_BYTES: Final = 32
LONGEST_ID: Final = 1024
MOST_VALUES: Final = 2**28
"""Most values in one array of one sample."""
MOST_BYTES: Final = 2**27
"""Most bytes of one array of one sample; whatever a log claims, no more is unpacked at once."""
MOST_ROW_BYTES: Final = 2**25
"""Most bytes of the rows of one batch, for the same reason."""
ID_WIDTHS: Final = (0, *(2**power for power in range(4, 11)))
"""Widths of ids that there are: whoever reads a row without its layout can tell them apart."""

ItemBytes: Final = {
    "bits": 0,
    "bool": 1,
    "uint8": 1,
    "int8": 1,
    "int16": 2,
    "float16": 2,
    "bfloat16": 2,
    "int32": 4,
    "float32": 4,
    "int64": 8,
    "float64": 8,
}
"""Types of values in arrays, by the names that torch has for them, and bytes of one.

``bits`` are eight values to a byte, the first in the highest bit: masks that really are binary.
"""

RAW: Final = 0
DEFLATED: Final = 1
_REFERENCE: Final = struct.Struct(">32sQIB")
REFERENCE_BYTES: Final = _REFERENCE.size


class Reference(NamedTuple):
    """Where an array lies in its segment's pack: digest, first byte, stored bytes, coding."""

    digest: bytes
    offset: int
    length: int
    coding: int


@dataclass(frozen=True, kw_only=True)
class ArrayForm:
    """What one array of one sample looks like.

    Attributes:
        name: Such as ``grid``, ``saliency_mask``, ``input``.
        dtype: A name in `ItemBytes`.
        shape: Of one sample.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse forms that no array has.

        Raises:
            InvalidInput: The type is unknown, or the shape is none.
        """
        if self.dtype not in ItemBytes:
            raise InvalidInput(
                f"expected a dtype of {', '.join(ItemBytes)}, got {self.dtype!r:.40}"
            )
        sound = all(type(size) is int and 0 < size <= MOST_VALUES for size in self.shape)
        if not sound or self.value_count > MOST_VALUES:
            raise InvalidInput(f"expected sizes >= 1 in the shape of an array, got {self.shape}")
        if self.byte_count > MOST_BYTES:
            message = f"expected at most {MOST_BYTES} bytes in an array of one sample"
            raise InvalidInput(f"{message}, got {self.byte_count} in {self.name!r:.40}")

    @cached_property
    def value_count(self) -> int:
        """Number of values."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @cached_property
    def byte_count(self) -> int:
        """Bytes of the values, not deflated."""
        if self.dtype == "bits":
            return -(-self.value_count // 8)
        return self.value_count * ItemBytes[self.dtype]

    @cached_property
    def prefix(self) -> bytes:
        """What is hashed before the values: the same as `fgmf.canonical.tensor_digest` does."""
        return f"{self.dtype}:{tuple(self.shape)}:".encode()

    def as_document(self) -> dict[str, Json]:
        """Return the form as JSON."""
        return {"dtype": self.dtype, "name": self.name, "shape": list(self.shape)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> ArrayForm:
        """Rebuild it."""
        return cls(
            name=str(document["name"]),
            dtype=document["dtype"],
            shape=tuple(document["shape"]),
        )


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the rows of a batch look like, and what made the masks.

    Attributes:
        id_bytes: Bytes of a text id, padded with zeros; 0 for ids that are whole numbers.
        input: Form of the inputs that digests are of.
        arrays: Forms of the arrays of each sample.
        layer: What made the masks: name, floor, upsampling, size, configuration.
    """

    id_bytes: int
    input: ArrayForm
    arrays: tuple[ArrayForm, ...]
    layer: Mapping[str, Json] = field(default_factory=dict)

    @cached_property
    def id_width(self) -> int:
        """Bytes of an id in a row."""
        return self.id_bytes or 8

    @cached_property
    def layer_name(self) -> str:
        """Name of the layer that made the masks; empty where it is none."""
        name = self.layer.get("name")
        return name if isinstance(name, str) else ""

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        fixed = SALT_BYTES + self.id_width + DIGEST_BYTES
        return fixed + REFERENCE_BYTES * len(self.arrays)

    def as_document(self) -> dict[str, Json]:
        """Return the layout as JSON."""
        return {
            "arrays": [form.as_document() for form in self.arrays],
            "id_bytes": self.id_bytes,
            "input": self.input.as_document(),
            "layer": dict(self.layer),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Layout:
        """Rebuild it.

        Raises:
            BrokenRecord: It is no layout.
        """
        try:
            id_bytes, layer = document["id_bytes"], document["layer"]
            if type(id_bytes) is not int or id_bytes not in ID_WIDTHS:
                raise BrokenRecord("expected a width of ids in a layout")
            if type(layer) is not dict:
                raise BrokenRecord("expected facts about a layer in a layout")
            return cls(
                id_bytes=id_bytes,
                input=ArrayForm.from_document(document["input"]),
                arrays=tuple(map(ArrayForm.from_document, document["arrays"])),
                layer=layer,
            )
        except (KeyError, TypeError, AttributeError, InvalidInput) as error:
            raise BrokenRecord(f"no layout of rows: {error}") from None

    def encode_ids(self, ids: Sequence[int | str]) -> list[bytes]:
        """Write ids as rows hold them.

        Raises:
            InvalidInput: An id is no whole number of 64 bits, or a text that does not fit.
        """
        if not self.id_bytes:
            try:
                numbers = struct.pack(f">{len(ids)}q", *ids)
            except struct.error:
                message = "expected ids that all are whole numbers of 64 bits, or all texts"
                raise InvalidInput(message) from None
            return [numbers[start : start + 8] for start in range(0, len(numbers), 8)]
        return [_padded(value, self.id_bytes) for value in ids]

    def decode_id(self, row: bytes) -> int | str:
        """Read the id of a row.

        Raises:
            BrokenRecord: It is no text.
        """
        stored = row[SALT_BYTES : SALT_BYTES + self.id_width]
        if not self.id_bytes:
            return int.from_bytes(stored, "big", signed=True)
        try:
            return stored.rstrip(b"\x00").decode()
        except UnicodeDecodeError:
            raise BrokenRecord("an id is no text") from None

    def input_digest(self, row: bytes) -> bytes:
        """Read the digest of a row's input."""
        start = SALT_BYTES + self.id_width
        return row[start : start + DIGEST_BYTES]

    def references(self, row: bytes) -> list[Reference]:
        """Read where a row's arrays lie."""
        made, unpacked = Reference._make, _REFERENCE.unpack_from
        return [made(unpacked(row, start)) for start in self._reference_starts]

    @cached_property
    def _reference_starts(self) -> tuple[int, ...]:
        start = SALT_BYTES + self.id_width + DIGEST_BYTES
        return tuple(range(start, self.row_bytes, REFERENCE_BYTES))


encode_place = struct.Struct(">QIB").pack
"""Write first byte, stored bytes and coding as rows hold them, after the digest."""


def id_width_of(ids: Sequence[int | str]) -> int:
    """Return `Layout.id_bytes` for some ids: a few widths, so that layouts stay few.

    Raises:
        InvalidInput: A text is empty or too long, or ids are of mixed kinds.
    """
    if set(map(type, ids)) <= {int}:
        return 0
    if not all(type(value) is str and value for value in ids):
        raise InvalidInput("expected sample ids that all are whole numbers or all texts, not empty")
    longest = max(len(str(value).encode()) for value in ids)
    if longest > LONGEST_ID:
        raise InvalidInput(f"expected sample ids of at most {LONGEST_ID} bytes, got {longest}")
    return max(16, 1 << (longest - 1).bit_length())


def _padded(value: int | str, width: int) -> bytes:
    encoded = value.encode() if isinstance(value, str) else b""
    if not encoded or len(encoded) > width or b"\x00" in encoded:
        raise InvalidInput("expected sample ids that all are texts without zero bytes")
    return encoded.ljust(width, b"\x00")
