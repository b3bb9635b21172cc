"""Packs: the rows and arrays of a segment in one file, every byte of which a record accounts for.

A batch adds its rows, and after them the arrays that are new. An array that the segment has already
is named again instead of stored again. Arrays are deflated where that pays, which is tried out on
some of them; the values come back bit by bit.

    entry of a batch = rows | new arrays: those of the first form of all rows, of the second, ...
"""

from __future__ import annotations

import hashlib
import os
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from fgmf.errors import BrokenRecord, InvalidInput
from fgmf.mask_log.rows import DEFLATED, MOST_ROW_BYTES, RAW, SALT_BYTES, encode_place
from fgmf.mask_log.tree import root_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fgmf.mask_log.rows import ArrayForm, Layout, Reference

_REMEMBERED: Final = 2**14
"""Arrays of a segment that are recognised when they come again."""
_SMALLEST_DEFLATED: Final = 512
_LARGE: Final = 1024
_TRIALS: Final = 16
_TRIED_AGAIN_EVERY: Final = 256
_WORTH_IT: Final = 0.9


@dataclass(frozen=True, kw_only=True)
class SampleBatch:
    """Samples of one forward pass, as bytes.

    Attributes:
        layout: What rows look like.
        ids: n ids.
        inputs: Values of n inputs, one after the other; only digests are kept.
        arrays: For each array of the layout, values of n arrays, one after the other.
    """

    layout: Layout
    ids: Sequence[int | str]
    inputs: memoryview
    arrays: Mapping[str, memoryview]

    def __post_init__(self) -> None:
        """Refuse values that don't fit the layout.

        Raises:
            InvalidInput: There are no samples, or too few or too many bytes.
        """
        count = len(self.ids)
        if not count:
            raise InvalidInput("expected a batch of at least one sample, got none")
        for form in (self.layout.input, *self.layout.arrays):
            given = self.inputs if form is self.layout.input else self.arrays[form.name]
            if given.nbytes != count * form.byte_count:
                expected = f"{count} arrays {form.name} of {form.byte_count} bytes"
                raise InvalidInput(f"expected {expected}, got {given.nbytes} bytes in all")


class PackedBatch(NamedTuple):
    """A batch as a pack holds it: bytes to append, length of the rows, root of the batch."""

    entry: bytes
    row_bytes: int
    root: bytes


class Packer:
    """Makes the entries of one segment's pack."""

    def __init__(self) -> None:
        """Start a segment."""
        self._known: dict[bytes, bytes] = {}  # bytes: what the garbage collector needs not look at
        self._deflating = {"tried": 0, "raw": 0, "deflated": 0}

    def pack(self, batch: SampleBatch, start: int) -> PackedBatch:
        """Make the entry of a batch.

        Args:
            batch: The samples.
            start: Bytes that the pack has already.

        Raises:
            InvalidInput: There are too many samples.

        Cost: a digest of every input and array, and two hashes per sample.
        """
        layout, count = batch.layout, len(batch.ids)
        if count * layout.row_bytes > MOST_ROW_BYTES:
            most = MOST_ROW_BYTES // layout.row_bytes
            raise InvalidInput(f"expected at most {most} samples in a batch, got {count}")
        ids = layout.encode_ids(batch.ids)
        position = start + count * layout.row_bytes
        fresh: list[bytes] = []
        columns: list[list[bytes]] = [digests_of(layout.input, batch.inputs, count)]
        for form in layout.arrays:
            more, position = self._columns(form, batch.arrays[form.name], position, fresh)
            columns += more
        columns = [_cut(os.urandom(SALT_BYTES * count), SALT_BYTES), ids, *columns]
        rows = list(map(b"".join, zip(*columns, strict=True)))
        sha256 = hashlib.sha256
        root = root_of([sha256(b"\x00" + row).digest() for row in rows])
        return PackedBatch(
            entry=b"".join((*rows, *fresh)), row_bytes=count * layout.row_bytes, root=root
        )

    def forget(self) -> None:
        """Forget all arrays: after a failed write, and when a segment ends."""
        self._known.clear()

    def _columns(
        self, form: ArrayForm, values: memoryview, position: int, fresh: list[bytes]
    ) -> tuple[tuple[list[bytes], list[bytes]], int]:
        """Return digests and places of one array of all samples, and where the pack ends then."""
        size, known, places = form.byte_count, self._known, []
        data, small = bytes(values), form.byte_count < _SMALLEST_DEFLATED
        digests = digests_of(form, data, len(data) // size)
        if small and known.keys().isdisjoint(digests) and len(set(digests)) == len(digests):
            fresh.append(data)
            return (digests, self._new_places(digests, size, position)), position + len(data)
        for start, digest in zip(range(0, len(data), size), digests, strict=True):
            place = known.get(digest)
            if place is None:
                stored, coding = data[start : start + size], RAW
                if not small:
                    stored, coding = self._coded(stored)
                place = encode_place(position, len(stored), coding)
                if len(known) >= _REMEMBERED:
                    known.clear()
                known[digest] = place
                fresh.append(stored)
                position += len(stored)
            places.append(place)
        return (digests, places), position

    def _new_places(self, digests: list[bytes], size: int, position: int) -> list[bytes]:
        """Give places to arrays that all are small, new and different: there is less to do."""
        known, end = self._known, position + size * len(digests)
        places = [encode_place(start, size, RAW) for start in range(position, end, size)]
        if len(known) + len(digests) > _REMEMBERED:
            known.clear()
        known.update(zip(digests, places, strict=True))
        return places

    def _coded(self, values: bytes) -> tuple[bytes, int]:
        if not self._try_deflating():
            return values, RAW
        state = self._deflating
        deflated = zlib.compress(values, 1)
        state["raw"] += len(values)
        state["deflated"] += len(deflated)
        return (deflated, DEFLATED) if len(deflated) < _WORTH_IT * len(values) else (values, RAW)

    def _try_deflating(self) -> bool:
        state = self._deflating
        state["tried"] += 1
        pays = state["deflated"] <= _WORTH_IT * state["raw"]
        return state["tried"] <= _TRIALS or pays or state["tried"] % _TRIED_AGAIN_EVERY == 0


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def digests_of(form: ArrayForm, values: memoryview | bytes, count: int) -> list[bytes]:
    """Return the digests of `count` arrays that lie one after the other."""
    size, prefix, sha256 = form.byte_count, form.prefix, hashlib.sha256
    starts = range(0, count * size, size)
    if size < _LARGE:
        data = bytes(values)
        return [sha256(prefix + data[start : start + size]).digest() for start in starts]
    begun, digests = sha256(prefix), []
    for start in starts:  # without a copy, which pays for large arrays
        digest = begun.copy()
        digest.update(values[start : start + size])
        digests.append(digest.digest())
    return digests


def decoded(form: ArrayForm, reference: Reference, stored: bytes) -> bytes:
    """Return the values of an array, checked.

    Args:
        form: What the array looks like.
        reference: What the row says of it.
        stored: The bytes at that place.

    Raises:
        BrokenRecord: They are not the values that the digest is of.
    """
    values = stored_values(form, reference, stored)
    if hashlib.sha256(form.prefix + values).digest() != reference.digest:
        raise BrokenRecord(f"array {form.name} is not what its digest says")
    return values


def stored_values(form: ArrayForm, reference: Reference, stored: bytes) -> bytes:
    """Return the values of an array; only their number is checked.

    Args:
        form: What the array looks like.
        reference: What the row says of it.
        stored: The bytes at that place.

    Raises:
        BrokenRecord: They are more or fewer.
    """
    values = stored
    if reference.coding == DEFLATED:
        values = _inflated(stored, form.byte_count)
    elif reference.coding != RAW:
        raise BrokenRecord(f"array {form.name} has an unknown coding")
    if len(values) != form.byte_count:
        raise BrokenRecord(f"array {form.name} has another length than its form")
    return values


def _inflated(stored: bytes, size: int) -> bytes:
    """Inflate to at most `size` bytes, whatever the stream claims."""
    inflater = zlib.decompressobj()
    try:
        values = inflater.decompress(stored, size + 1)
    except zlib.error:
        raise BrokenRecord("a deflated array is broken") from None
    if not inflater.eof or inflater.unused_data:
        raise BrokenRecord("a deflated array has another length than its form")
    return values
