"""Hold the rows and arrays of a batch against its record.

rows        their leaves make the root in the record
arrays      each is what its row says; the new ones fill the entry to its last byte
erased rows are zero, and their leaves stand in a tombstone
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fgmf.errors import BrokenRecord
from fgmf.mask_log.packs import decoded
from fgmf.mask_log.rows import MOST_BYTES, MOST_ROW_BYTES
from fgmf.mask_log.tree import leaf_hash, root_of
from fgmf.mask_log.weights import MOST_WEIGHT_BYTES, stored_tensors, weights_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgmf.mask_log.reading import PackReader
    from fgmf.mask_log.rows import ArrayForm, Layout, Reference

_REMEMBERED: Final = 2**14


@dataclass(frozen=True, kw_only=True)
class Tombstone:
    """What is left of an erased row.

    Attributes:
        leaf: Its leaf hash.
        spans: For each of its arrays: first byte, length, and whether it is gone too.
        erasure: Number of the erasure; rows that were erased in one go were of one sample.
    """

    leaf: bytes
    spans: tuple[tuple[int, int, bool], ...]
    erasure: int


@dataclass(kw_only=True)
class BatchChecker:
    """Checks the batches of one segment, in their order.

    Attributes:
        pack: The segment's pack.
        tombstones: Of the stream's batches, by record number and row.
        unfinished: Rows so far that have a tombstone and are still there.
    """

    pack: PackReader
    tombstones: Mapping[int, Mapping[int, Tombstone]] = field(default_factory=dict)
    unfinished: int = 0
    _sound: dict[bytes, tuple[ArrayForm, tuple[int, int, int]]] = field(default_factory=dict)

    def check(self, number: int, body: Mapping[str, Any], layout: Layout) -> list[bytes | None]:
        """Check one batch.

        Args:
            number: Of its record.
            body: Of its record.
            layout: Of its rows.

        Returns:
            Its rows; None for those that were erased.

        Raises:
            BrokenRecord: A row or an array is not what the record says.
        """
        start, rows_end, end = body["pack"]
        width = layout.row_bytes
        if rows_end - start > MOST_ROW_BYTES:
            raise BrokenRecord(f"expected at most {MOST_ROW_BYTES} bytes of rows in a batch")
        data = self.pack.read(start, rows_end - start)
        whole = [data[at : at + width] for at in range(0, rows_end - start, width)]
        rows: list[bytes | None] = list(whole)
        leaves = [leaf_hash(row) for row in whole]
        stones = self.tombstones.get(number, {})
        if stones:
            self._bury(stones, rows, leaves)
        if root_of(leaves).hex() != body["root"]:
            raise BrokenRecord("its rows are not those that its root is of")
        named = [
            stones.get(position) or layout.references(row) for position, row in enumerate(whole)
        ]
        cursor = rows_end
        for column, form in enumerate(layout.arrays):
            for row, entry in zip(rows, named, strict=True):
                if isinstance(entry, Tombstone):
                    cursor = self._erased(entry, column, cursor, finished=row is None)
                else:
                    cursor = self._array(form, entry[column], cursor)
        if cursor != end:
            raise BrokenRecord("its arrays do not fill the place that it names")
        return rows

    def _bury(
        self, stones: Mapping[int, Tombstone], rows: list[bytes | None], leaves: list[bytes]
    ) -> None:
        """Put tombstones in the place of erased rows."""
        for position, stone in stones.items():
            row = rows[position] if position < len(rows) else None
            if row is None:
                raise BrokenRecord(f"a tombstone names row {position}, which there is not")
            if not row.strip(b"\x00"):
                rows[position], leaves[position] = None, stone.leaf
            elif leaves[position] == stone.leaf:
                self.unfinished += 1
            else:
                raise BrokenRecord(f"the tombstone of row {position} is that of another row")

    def check_tensors(self, body: Mapping[str, Any]) -> None:
        """Check a record with the weights of a layer.

        Raises:
            BrokenRecord: The weights are not what the record says.
        """
        start, _, end = body["pack"]
        if end - start > MOST_WEIGHT_BYTES:
            raise BrokenRecord(f"expected at most {MOST_WEIGHT_BYTES} bytes of weights in a record")
        tensors = stored_tensors(body["tensors"], self.pack.read(start, end - start))
        if weights_digest(tensors).hex() != body["digest"]:
            raise BrokenRecord("the weights are not those that their digest is of")

    def _array(self, form: ArrayForm, reference: Reference, cursor: int) -> int:
        """Check one array; return where the next new one begins."""
        place = (form, reference[1:])  # the same bytes in another form are another array
        if reference.length > form.byte_count:
            raise BrokenRecord(f"array {form.name} has another length than its form")
        if reference.offset == cursor:
            cursor += reference.length
        elif reference.offset + reference.length > cursor:
            raise BrokenRecord(f"array {form.name} lies beyond the batch that names it")
        elif self._sound.get(reference.digest) == place:
            return cursor
        self._read(form, reference)
        if len(self._sound) >= _REMEMBERED:
            self._sound.clear()
        self._sound[reference.digest] = place
        return cursor

    def _read(self, form: ArrayForm, reference: Reference) -> bytes:
        return decoded(form, reference, self.pack.read(reference.offset, reference.length))

    def _erased(self, stone: Tombstone, column: int, cursor: int, *, finished: bool) -> int:
        if column >= len(stone.spans):
            raise BrokenRecord("a tombstone names too few arrays")
        offset, length, gone = stone.spans[column]
        if length > MOST_BYTES:
            raise BrokenRecord("a tombstone names more bytes than an array has")
        if gone and finished and self.pack.read(offset, length).strip(b"\x00"):
            raise BrokenRecord("an array has a tombstone and is not erased")
        return cursor + length if offset == cursor else cursor
