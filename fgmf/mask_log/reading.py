"""Read a stream line by line, in flat memory, with the place of each record.

A last line without its newline is a torn tail: what a writer that was killed, or a full disk,
leaves behind. It is told apart from everything else, and never read as a record.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from fgmf.errors import BrokenRecord
from fgmf.mask_log.places import open_inside
from fgmf.mask_log.records import LONGEST_LINE, decode_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fgmf.mask_log.places import LogDirectory
    from fgmf.mask_log.records import Record

_WINDOW = 2**20
_BEGINNING = b'{"at":'


class Place(NamedTuple):
    """Where a record stands: segment, line from 1, first byte and length of the line."""

    segment: int
    line: int
    offset: int
    length: int


class TornTail(Exception):
    """The last line has no newline."""

    def __init__(self, place: Place) -> None:
        """Take where the torn line begins."""
        super().__init__(f"torn at byte {place.offset} of segment {place.segment}")
        self.place = place


class MisplacedRecord(Exception):
    """A line is no record."""

    def __init__(self, place: Place, reason: str) -> None:
        """Take where, and why."""
        super().__init__(reason)
        self.place = place
        self.reason = reason


def read_segment(
    directory: LogDirectory,
    stream: str,
    segment: int,
    *,
    on_line: Callable[[bytes], None] = lambda _line: None,
    after: Place | None = None,
) -> Iterator[tuple[Record, Place]]:
    """Read the records of one segment.

    Args:
        directory: The log.
        stream: Name of the stream.
        segment: Number of the segment.
        on_line: Told each line, once its record was dealt with.
        after: Of the record to go on after; None begins at the beginning.

    Yields:
        Each record and its place.

    Raises:
        TornTail: The last line is torn.
        MisplacedRecord: A line is no record.
        MaskLogUnreadable: The file cannot be read.
    """
    with open_inside(directory.path, directory.records(stream, segment)) as file:
        offset, number = 0, 0
        if after is not None and after.length:
            offset, number = after.offset + after.length, after.line
            file.seek(offset)
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            place = Place(segment, number, offset, len(line))
            if not line.endswith(b"\n"):
                if len(line) > LONGEST_LINE:
                    raise MisplacedRecord(place, f"a line of more than {LONGEST_LINE} bytes")
                raise TornTail(place)
            try:
                record = decode_record(line)
            except BrokenRecord as error:
                raise MisplacedRecord(place, str(error)) from None
            yield record, place
            offset += len(line)
            on_line(line)


def is_cut_off(tail: bytes) -> bool:
    """Say whether bytes after the last record can be the beginning of one, or a power cut's zeros.

    Args:
        tail: Without a newline.
    """
    return _BEGINNING.startswith(tail[: len(_BEGINNING)]) or not tail.strip(b"\x00")


class PackReader:
    """The pack of a segment, read mostly forward through one window.

    A writer may go on meanwhile: what it appends is read too.
    """

    def __init__(self, directory: LogDirectory, stream: str, segment: int) -> None:
        """Open a pack; a segment that holds no arrays may have none.

        Raises:
            MaskLogUnreadable: It is no regular file.
        """
        path = directory.pack(stream, segment)
        self._file: BinaryIO | None = None
        if path.is_symlink() or path.exists():
            self._file = open_inside(directory.path, path)
        self._size = self.size
        self._window, self._start = b"", 0

    @property
    def size(self) -> int:
        """Bytes of the file as it is now; 0 where there is none."""
        return 0 if self._file is None else os.fstat(self._file.fileno()).st_size

    def read(self, start: int, length: int) -> bytes:
        """Return bytes of the pack.

        Raises:
            BrokenRecord: The pack ends before them.
        """
        within = start - self._start
        if within < 0 or within + length > len(self._window):
            if start + length > self._size:
                self._size = self.size
            if self._file is None or start + length > self._size:
                raise BrokenRecord(f"its bytes {start} to {start + length} are not in the pack")
            self._file.seek(start)
            if start < self._start:
                return self._whole(self._file.read(length), start, length)
            self._window = self._file.read(max(length, _WINDOW))
            self._start, within = start, 0
        return self._whole(self._window[within : within + length], start, length)

    def _whole(self, data: bytes, start: int, length: int) -> bytes:
        if len(data) != length:
            raise BrokenRecord(f"its bytes {start} to {start + length} are not in the pack")
        return data

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
