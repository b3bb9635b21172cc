"""Go on with a stream that is there: read all of it, and trust only what holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.errors import BrokenRecord
from fgmf.mask_log.opening import new_state
from fgmf.mask_log.reading import MisplacedRecord, TornTail, read_segment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.mask_log.following import StreamFollower
    from fgmf.mask_log.manifest import Manifest
    from fgmf.mask_log.places import LogDirectory
    from fgmf.mask_log.records import Record
    from fgmf.mask_log.rows import Layout


def follow_to_the_end(
    directory: LogDirectory, stream: str, manifest: Manifest
) -> StreamFollower | None:
    """Follow a stream to its last record.

    Args:
        directory: The log.
        stream: Name of the stream.
        manifest: The log's manifest.

    Returns:
        The stream as it is after its last record; None where it has no record at all.

    Raises:
        BrokenRecord: It is torn or broken; nothing was changed.

    Cost: reads all records, not their arrays.
    """
    state = new_state(manifest, stream)
    try:
        _follow(directory, state)
    except TornTail as torn:
        raise BrokenRecord(_repair_first(stream, directory, str(torn))) from None
    except (MisplacedRecord, BrokenRecord) as broken:
        raise BrokenRecord(f"stream {stream} is broken: {broken}; see fgmf log verify") from None
    if state.fresh_segment:
        raise BrokenRecord(_repair_first(stream, directory, "its last segment is empty"))
    pack = directory.pack(stream, state.segment)
    size = pack.stat().st_size if pack.exists() else 0
    if size != state.pack:
        reason = f"its pack has {size} bytes, and records account for {state.pack}"
        raise BrokenRecord(_repair_first(stream, directory, reason))
    return state if state.seq else None


def read_stream(
    directory: LogDirectory, manifest: Manifest, stream: str
) -> Iterator[tuple[Record, int, Layout | None]]:
    """Yield the records of a stream, each held against all before it; a torn tail ends it.

    Args:
        directory: The log.
        manifest: Its manifest.
        stream: Name of the stream.

    Yields:
        The record, the number of its segment, and the layout of its rows if it is a batch.

    Raises:
        BrokenRecord: The stream is broken here.
    """
    state = new_state(manifest, stream)
    for segment in directory.segments(stream):
        if segment:
            state.open_segment()
        try:
            for record, _ in read_segment(directory, stream, segment):
                state.take(record)
                batch = record.kind == "batch"
                yield record, segment, state.layouts[record.body["layout"]] if batch else None
        except TornTail:
            return
        except MisplacedRecord as error:
            raise BrokenRecord(f"stream {stream} is broken: {error}") from None


def _follow(directory: LogDirectory, state: StreamFollower) -> None:
    for expected, segment in enumerate(directory.segments(state.stream)):
        if segment != expected:
            raise BrokenRecord(f"expected segment {expected}, got {segment}")
        if segment:
            state.open_segment()
        for record, _ in read_segment(directory, state.stream, segment):
            state.take(record)


def _repair_first(stream: str, directory: LogDirectory, reason: str) -> str:
    return f"stream {stream} was cut off: {reason}; run `fgmf log repair {directory.path}` first"
