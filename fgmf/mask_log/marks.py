"""Marks of what was read of a stream, by its bytes: is what lies behind a mark still the same?

    of each finished segment      length and SHA-256 of its records, and of its pack
    of the segment that is read   the same, of what was read so far

Bytes are hashed as they are verified, from the same memory: all that a record accounts for in a
pack is read at once, hashed, and then checked. So a digest never is of bytes that nobody verified.
Hashing a prefix again costs a fiftieth of verifying it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fgmf.mask_log.places import open_inside
from fgmf.mask_log.reading import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from fgmf.mask_log.places import LogDirectory
    from fgmf.mask_log.reading import PackReader
    from fgmf.types import Json

_CHUNK: Final = 2**20
_MOST_AT_ONCE: Final = 2**29
"""Most bytes of one record's arrays that are read at once."""
_GATHERED: Final = 2**15
"""Bytes that are gathered before they are hashed."""


class Changed(Exception):
    """What was read before is not what it was."""


@dataclass(frozen=True, kw_only=True)
class Seal:
    """A segment that was read to its end.

    Attributes:
        records: Bytes of its records.
        records_digest: Their SHA-256.
        pack: Bytes of its pack.
        pack_digest: Their SHA-256.
        unfinished: Rows of it that have a tombstone and are still there.
    """

    records: int
    records_digest: str
    pack: int
    pack_digest: str
    unfinished: int


class Marks:
    """What was read of one stream.

    Attributes:
        seals: Of the segments before this one.
        held: Roots that were held against the stream and agreed, by size.
        segment: Number of the segment that is read.
        offset: Bytes of its records that were read.
        line: Number of the last of their lines, from 1; 0 before the first.
        start: First byte of that line.
        pack: Bytes of its pack that these records account for.
        unfinished: Rows so far that have a tombstone and are still there.
        whole: Whether everything that was verified was also hashed.
    """

    def __init__(self) -> None:
        """Begin with nothing read."""
        self.seals: list[Seal] = []
        self.held: dict[int, str] = {}
        self.whole = True
        self._begin(0)

    def _begin(self, segment: int) -> None:
        self.segment, self.offset, self.pack, self.unfinished = segment, 0, 0, 0
        self.line, self.start = 0, 0
        self._records, self._arrays = hashlib.sha256(), hashlib.sha256()
        self._lines, self._data = bytearray(), bytearray()

    @property
    def last(self) -> Place:
        """Where the last record stands that was read of the segment."""
        length = self.offset - self.start
        return Place(segment=self.segment, line=self.line, offset=self.start, length=length)

    def take_line(self, line: bytes) -> None:
        """Take the line of a record that holds."""
        self._lines += line
        self.line, self.start = self.line + 1, self.offset
        self.offset += len(line)
        if len(self._lines) > _GATHERED:
            self._hash()

    def take_arrays(self, pack: PackReader, span: tuple[int, int, int]) -> None:
        """Read and hash all that a record accounts for in the pack, before it is checked.

        The reader's window holds it afterwards, so that what is checked is what was hashed.
        """
        start, _, end = span
        if end > pack.size or end - start > _MOST_AT_ONCE:
            self.whole = False  # no sound record, or one too large: nothing is kept from here on
            return
        data = pack.read(start, end - start)
        self.pack = end
        if len(data) + len(self._data) > _GATHERED:
            self._hash()
            self._arrays.update(data)
        else:
            self._data += data

    def _hash(self) -> None:
        """Hash what was gathered: a call for each small piece would cost more than the hashing."""
        self._records.update(self._lines)
        self._arrays.update(self._data)
        self._lines.clear()
        self._data.clear()

    def next_segment(self) -> None:
        """Say that the segment was read to its end, and another one comes."""
        self._hash()
        self.seals.append(
            Seal(
                records=self.offset,
                records_digest=self._records.hexdigest(),
                pack=self.pack,
                pack_digest=self._arrays.hexdigest(),
                unfinished=self.unfinished,
            )
        )
        self._begin(self.segment + 1)

    def as_document(self) -> dict[str, Json]:
        """Return all as JSON."""
        self._hash()
        return {
            "arrays": self._arrays.hexdigest(),
            "held": [[size, root] for size, root in self.held.items()],
            "line": self.line,
            "offset": self.offset,
            "pack": self.pack,
            "records": self._records.hexdigest(),
            "seals": [vars(seal) for seal in self.seals],
            "start": self.start,
            "unfinished": self.unfinished,
        }

    def recall(
        self,
        document: Mapping[str, Any],
        directory: LogDirectory,
        stream: str,
        *,
        on_bytes: Callable[[int], None],
    ) -> None:
        """Take up marks again, and hash everything behind them anew.

        Args:
            document: What `as_document` returned.
            directory: The log.
            stream: Name of the stream.
            on_bytes: Told how many bytes of records were hashed.

        Raises:
            Changed: A byte behind the marks is another one.
            MaskLogUnreadable: A file is not there any more.

        Cost: reads every byte behind the marks once.
        """
        self.held = {int(size): str(root) for size, root in document["held"]}
        self.seals = [Seal(**seal) for seal in document["seals"]]
        for segment, seal in enumerate(self.seals):
            records = _hashed(directory, directory.records(stream, segment), seal.records, on_bytes)
            arrays = _hashed(directory, directory.pack(stream, segment), seal.pack)
            _must_be(records.hexdigest(), seal.records_digest, stream, segment)
            _must_be(arrays.hexdigest(), seal.pack_digest, stream, segment)
            _must_end(directory, directory.records(stream, segment), seal.records)
            _must_end(directory, directory.pack(stream, segment), seal.pack)
        self._begin(len(self.seals))
        self.line, self.start = int(document["line"]), int(document["start"])
        self.offset, self.pack = int(document["offset"]), int(document["pack"])
        self.unfinished = int(document["unfinished"])
        path = directory.records(stream, self.segment)
        self._records = _hashed(directory, path, self.offset, on_bytes)
        self._arrays = _hashed(directory, directory.pack(stream, self.segment), self.pack)
        _must_be(self._records.hexdigest(), document["records"], stream, self.segment)
        _must_be(self._arrays.hexdigest(), document["arrays"], stream, self.segment)


def _must_be(found: str, digest: str, stream: str, segment: int) -> None:
    if found != digest:
        where = f"stream {stream}, segment {segment:06d}"
        raise Changed(f"{where} is not what it was, within what was read before")


def _must_end(directory: LogDirectory, path: Path, length: int) -> None:
    """Refuse a file that is longer than it was when it was read to its end."""
    if not length and not path.exists() and not path.is_symlink():
        return
    with open_inside(directory.path, path) as stream:
        if stream.seek(0, 2) != length:
            where = path.relative_to(directory.path)
            raise Changed(f"{where} is longer than it was when it was read to its end")


def _hashed(
    directory: LogDirectory,
    path: Path,
    length: int,
    on_bytes: Callable[[int], None] = lambda _count: None,
) -> hashlib._Hash:
    """Hash the first bytes of a file; there must be so many."""
    digest = hashlib.sha256()
    if not length:
        return digest
    left = length
    with open_inside(directory.path, path) as stream:
        while left:
            chunk = stream.read(min(left, _CHUNK))
            if not chunk:
                where = path.relative_to(directory.path)
                raise Changed(f"{where} is shorter than what was read of it before")
            digest.update(chunk)
            left -= len(chunk)
            on_bytes(len(chunk))
    return digest
