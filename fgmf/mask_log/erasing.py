"""Erase what a log holds of one person, and leave a verifiable tombstone.

    rows of the sample     -> zeros; their leaf hashes go into tombstones, so that roots still hold
    arrays of these rows   -> zeros, unless another row names them too
    tombstones             -> records of the stream `erasures`, which begins and ends like any other

A leaf is salted: once the row is gone it says nothing about who it was. Records, chains and roots
are untouched; a verifier counts the erased samples. The tombstone is on the disk first, then arrays
are zeroed, the row last: an erasure that was cut off leaves a row with a tombstone, which a
verifier names, and erasing the sample again finishes it.

Cost: reads the whole log once.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fgmf.errors import BrokenRecord, InvalidInput
from fgmf.mask_log.keeping import keep_head
from fgmf.mask_log.manifest import read_manifest
from fgmf.mask_log.opening import locked, unwritable
from fgmf.mask_log.places import ERASURES, open_log
from fgmf.mask_log.settings import WriterSettings
from fgmf.mask_log.tree import leaf_hash
from fgmf.mask_log.verifying import VerifySettings, verify_log
from fgmf.mask_log.writing import StreamWriter

if TYPE_CHECKING:
    from pathlib import Path

    from fgmf.mask_log.heads import Head
    from fgmf.mask_log.places import LogDirectory
    from fgmf.mask_log.records import Record
    from fgmf.mask_log.streams import ObservedBatch


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """What was erased.

    Attributes:
        rows: Rows of the sample.
        arrays: Arrays that only these rows named.
        shared: Arrays that other rows name too, which are still there.
        head: Of the log with its tombstones: the one to keep from now on.
    """

    rows: int
    arrays: int
    shared: int
    head: Head


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A row to be erased, and the places of its arrays."""

    stream: str
    segment: int
    record: int
    position: int
    offset: int
    length: int
    leaf: bytes
    spans: tuple[tuple[int, int], ...]


class _Finder:
    """Finds the rows of a sample, and counts which arrays are named how often."""

    def __init__(self, sample: int | str) -> None:
        self.sample = sample
        self.rows: list[_Row] = []
        self.named: Counter[tuple[str, int, int]] = Counter()

    def take(self, batch: ObservedBatch) -> None:
        start = batch.record.body["pack"][0]
        width = batch.layout.row_bytes
        for position, row in enumerate(batch.rows):
            if row is None:
                continue
            references = batch.layout.references(row)
            for reference in references:
                self.named[batch.stream, batch.segment, reference.offset] += 1
            if batch.layout.decode_id(row) == self.sample:
                self.rows.append(
                    _Row(
                        stream=batch.stream,
                        segment=batch.segment,
                        record=batch.record.seq,
                        position=position,
                        offset=start + position * width,
                        length=width,
                        leaf=leaf_hash(row),
                        spans=tuple((r.offset, r.length) for r in references),
                    )
                )

    def take_weights(self, stream: str, record: Record, segment: int) -> None:
        """Weights are of nobody."""


def erase_sample(path: Path, sample: int | str, *, reason: str) -> Erasure:
    """Erase all rows of a sample, and the arrays that only they name.

    Args:
        path: Directory of the log.
        sample: Its id.
        reason: Stands in the tombstones; say nothing about the person.

    Returns:
        What was erased, and the new head.

    Raises:
        InvalidInput: The log does not hold the sample, or a stream of it is being written.
        BrokenRecord: The log is broken; nothing was erased.
        MaskLogUnwritable: The directory cannot be written.
    """
    directory = open_log(path)
    finder = _Finder(sample)
    report = verify_log(path, VerifySettings(observers=[finder]))
    broken = [trouble for trouble in report.troubles if trouble.kind != "incomplete"]
    if broken:
        raise BrokenRecord(f"expected a log that is intact, got: {broken[0]}; nothing was erased")
    if not finder.rows:
        raise InvalidInput(f"expected a sample that the log holds, got {sample!r:.80}")
    try:
        return _erased(directory, finder, reason)
    except OSError as error:
        raise unwritable(error, directory) from error


def _erased(directory: LogDirectory, finder: _Finder, reason: str) -> Erasure:
    manifest = read_manifest(directory)
    gone = Counter(
        (row.stream, row.segment, offset) for row in finder.rows for offset, _ in row.spans
    )
    last = {key for key, count in gone.items() if finder.named[key] == count}
    streams = sorted({row.stream for row in finder.rows})
    locks = [locked(directory, stream) for stream in streams]
    try:
        resume = bool(directory.segments(ERASURES))
        settings = WriterSettings(durability="record")
        writer = StreamWriter(directory, ERASURES, manifest, settings=settings, resume=resume)
        for row in finder.rows:
            spans = [
                [offset, length, int((row.stream, row.segment, offset) in last)]
                for offset, length in row.spans
            ]
            writer.append(
                "erasure",
                {
                    "leaf": row.leaf.hex(),
                    "pack": spans,  # type: ignore[dict-item] # JSON lists of whole numbers
                    "reason": reason,
                    "row": row.position,
                    "seq": row.record,
                    "stream": row.stream,
                },
            )
        writer.close()
        for row in finder.rows:
            _zero(directory, row, last)
    finally:
        for lock in locks:
            lock.release()
    return Erasure(
        rows=len(finder.rows),
        arrays=len(last),
        shared=len(gone) - len(last),
        head=keep_head(directory, manifest),
    )


def _zero(directory: LogDirectory, row: _Row, last: set[tuple[str, int, int]]) -> None:
    path = directory.pack(row.stream, row.segment)
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for offset, length in row.spans:
            if (row.stream, row.segment, offset) in last:
                os.pwrite(descriptor, bytes(length), offset)
        os.fsync(descriptor)
        os.pwrite(descriptor, bytes(row.length), row.offset)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
