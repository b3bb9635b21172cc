"""Cut a stream off after its last record, where a crash left a part of one: openly, never silently.

    torn line, zeros, an empty segment     cut off; its bytes, their number and digest are recorded
    arrays without a record                cut off
    anything else that is wrong            nothing is touched: that is no crash

What was acknowledged is never cut: a checkpoint or a head that names more records is evidence that
more was lost than the tail, and forbids the repair.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fgmf.errors import BrokenRecord
from fgmf.mask_log.anchoring import read_claims
from fgmf.mask_log.appending import AppendedFile, sync_directory
from fgmf.mask_log.manifest import read_manifest
from fgmf.mask_log.opening import locked, new_state, unwritable
from fgmf.mask_log.places import open_log
from fgmf.mask_log.reading import MisplacedRecord, TornTail, is_cut_off, read_segment
from fgmf.mask_log.records import encode_record

if TYPE_CHECKING:
    from pathlib import Path

    from fgmf.mask_log.following import StreamFollower
    from fgmf.mask_log.places import LogDirectory
    from fgmf.types import Json


@dataclass(frozen=True, kw_only=True)
class Repair:
    """What was cut off a stream.

    Attributes:
        stream: Its name.
        records: Records that are left.
        line_bytes: Bytes of a torn record.
        pack_bytes: Bytes of arrays that no record names.
        segment: Whether an empty segment was removed.
        sha256: Digest of what was cut off, record first.
    """

    stream: str
    records: int
    line_bytes: int
    pack_bytes: int
    segment: bool
    sha256: str


def repair_log(path: Path) -> list[Repair]:
    """Cut off what crashes left behind in all streams of a log.

    Args:
        path: Its directory.

    Returns:
        What was cut off, by stream; streams that nothing was wrong with are left out.

    Raises:
        MaskLogUnreadable: There is no log.
        InvalidInput: A stream is being written.
        BrokenRecord: Something else is wrong; nothing of that stream was touched.
        MaskLogUnwritable: The directory cannot be written.
    """
    directory = open_log(path)
    manifest = read_manifest(directory)
    claims = read_claims(directory, manifest)
    if claims.troubles:
        raise BrokenRecord(f"expected a log that a crash cut off, got: {claims.troubles[0]}")
    repairs = []
    for stream in directory.stream_names():
        try:
            with locked(directory, stream):
                state = new_state(manifest, stream)
                least = max(claims.sizes.get(stream, {0: []}))
                repair = _repaired(directory, state, least)
        except OSError as error:
            raise unwritable(error, directory) from error
        if repair is not None:
            repairs.append(repair)
    return repairs


def _repaired(directory: LogDirectory, state: StreamFollower, least: int) -> Repair | None:
    stream = state.stream
    segments = directory.segments(stream)
    if not segments:
        return None
    tail, size = _followed(directory, state, segments)
    if state.seq < least:
        message = f"stream {stream}: {least} records were acknowledged and {state.seq} hold"
        raise BrokenRecord(f"{message}: more is lost than a crash takes, and nothing was repaired")
    empty = state.fresh_segment or not state.seq
    last = segments[-1]
    lost = _cut_pack(directory, stream, last, 0 if empty else state.pack)
    if not (tail or lost or empty):
        return None
    if empty:
        directory.records(stream, last).unlink()
        directory.pack(stream, last).unlink(missing_ok=True)
        state.fresh_segment = False
    repair = Repair(
        stream=stream,
        records=state.seq,
        line_bytes=len(tail),
        pack_bytes=len(lost),
        segment=empty,
        sha256=hashlib.sha256(tail + lost).hexdigest(),
    )
    if state.seq:
        _record(directory, state, repair, cut=None if empty else size)
    sync_directory(directory.stream(stream))
    return repair


def _followed(
    directory: LogDirectory, state: StreamFollower, segments: list[int]
) -> tuple[bytes, int]:
    """Follow a stream; return what stands after its last record, and where that begins."""
    size = 0
    for position, segment in enumerate(segments):
        if segment != position:
            raise BrokenRecord(f"stream {state.stream}: segment {position} is not there")
        if segment:
            state.open_segment()
        size = 0
        try:
            for record, place in read_segment(directory, state.stream, segment):
                state.take(record)
                size = place.offset + place.length
        except TornTail as torn:
            tail = directory.read_tail(state.stream, segment, torn.place.offset)
            if segment != segments[-1] or not is_cut_off(tail):
                raise BrokenRecord(f"stream {state.stream}: {torn}, which is no crash") from None
            return tail, size
        except (MisplacedRecord, BrokenRecord) as broken:
            message = f"stream {state.stream} is broken, nothing was repaired: {broken}"
            raise BrokenRecord(f"{message}; see fgmf log verify") from None
    return b"", size


def _cut_pack(directory: LogDirectory, stream: str, segment: int, size: int) -> bytes:
    """Cut the pack off at `size`; return what was there."""
    path = directory.pack(stream, segment)
    if not path.exists():
        if size:
            raise BrokenRecord(f"stream {stream}: its pack is not there, nothing was repaired")
        return b""
    pack = AppendedFile(path)
    try:
        if pack.size < size:
            message = f"stream {stream}: its pack has {pack.size} bytes of {size}"
            raise BrokenRecord(f"{message}, nothing was repaired")
        with path.open("rb") as file:
            file.seek(size)
            lost = file.read()
        if lost:
            pack.cut(size)
            pack.sync()
    finally:
        pack.close()
    return lost


def _record(
    directory: LogDirectory, state: StreamFollower, repair: Repair, *, cut: int | None
) -> None:
    body: dict[str, Json] = {
        "pack": state.pack,
        "removed": {
            "line_bytes": repair.line_bytes,
            "pack_bytes": repair.pack_bytes,
            "segments": int(repair.segment),
        },
        "sha256": repair.sha256,
    }
    at = max(time.time_ns() // 1_000_000, state.at)
    line, _ = encode_record(kind="repair", seq=state.seq, at=at, prev=state.prev, body=body)
    file = AppendedFile(directory.records(state.stream, state.segment))
    try:
        if cut is not None:
            file.cut(cut)
        file.append(line)
        file.sync()
    finally:
        file.close()
