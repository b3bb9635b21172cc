"""Where the parts of a mask log lie. No record holds a path: names are numbers and stream names.

    manifest.json                   what must be logged
    heads/<size>-<digest>.txt       what the log was when a writer closed
    streams/<stream>/lock           held by the one writer
    streams/<stream>/000000.jsonl   records, a segment
    streams/<stream>/000000.pack    sample rows and arrays of that segment
    streams/<stream>/checkpoint     size and root that are safely on disk

Nothing is followed out of the directory: symbolic links are refused, not read.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from fgmf.errors import InvalidInput, MaskLogUnreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

FORMAT: Final = "fgmf-mask-log/1"
ERASURES: Final = "erasures"
"""The stream that tombstones stand in."""
EXPORTS: Final = "exports"
"""The stream that exported files are named in (`exported`)."""
RESERVED: Final = frozenset({ERASURES, EXPORTS})
"""Streams of the log itself: no manifest names them, and they are complete when they end."""
MANIFEST: Final = "manifest.json"
HEADS: Final = "heads"
STREAMS: Final = "streams"
CHECKPOINT: Final = "checkpoint"
LOCK: Final = "lock"
_LONGEST_TAIL: Final = 8 * 2**20
_STREAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SEGMENT = re.compile(r"[0-9]{6}")
_HEAD = re.compile(r"[0-9]{1,18}-[0-9a-f]{16}\.txt")


@dataclass(frozen=True, kw_only=True)
class LogDirectory:
    """The directory of one mask log."""

    path: Path

    @property
    def manifest(self) -> Path:
        """What must be logged."""
        return self.path / MANIFEST

    @property
    def heads(self) -> Path:
        """Directory of the heads."""
        return self.path / HEADS

    def stream(self, name: str) -> Path:
        """Return the directory of a stream.

        Raises:
            InvalidInput: The name is none.
        """
        return self.path / STREAMS / checked_stream_name(name)

    def records(self, name: str, segment: int) -> Path:
        """Return the file of a segment's records."""
        return self.stream(name) / f"{segment:06d}.jsonl"

    def pack(self, name: str, segment: int) -> Path:
        """Return the file of a segment's rows and arrays."""
        return self.stream(name) / f"{segment:06d}.pack"

    def checkpoint(self, name: str) -> Path:
        """Return the file of a stream's latest checkpoint."""
        return self.stream(name) / CHECKPOINT

    def stream_names(self) -> list[str]:
        """Return the names of all streams, sorted.

        Raises:
            MaskLogUnreadable: Something lies among them that is no stream.
        """
        return [n for n in _entries(self.path / STREAMS) if self._is_stream(n)]

    def _is_stream(self, name: str) -> bool:
        place = self.path / STREAMS / name
        if name.startswith("."):
            return False  # a file that is being written
        if _STREAM.fullmatch(name) is None or not stat.S_ISDIR(place.lstat().st_mode):
            message = f"expected directories of streams in {place.parent}, got {name!r}"
            raise MaskLogUnreadable(f"{message}, which is none; move it away")
        return True

    def segments(self, name: str) -> list[int]:
        """Return the numbers of a stream's segments, sorted."""
        entries = [Path(entry) for entry in _entries(self.stream(name))]
        return sorted(
            int(e.stem) for e in entries if e.suffix == ".jsonl" and _SEGMENT.fullmatch(e.stem)
        )

    def read_tail(self, name: str, segment: int, offset: int) -> bytes:
        """Return what stands at the end of a segment's records, its beginning at least."""
        with open_inside(self.path, self.records(name, segment)) as stream:
            stream.seek(offset)
            return stream.read(_LONGEST_TAIL)

    def head_names(self) -> list[str]:
        """Return the names of the files of heads, sorted."""
        return [name for name in _entries(self.heads) if _HEAD.fullmatch(name)]


def checked_stream_name(name: str) -> str:
    """Return the name of a stream.

    Raises:
        InvalidInput: It is none.
    """
    if _STREAM.fullmatch(name) is None:
        expected = "a name of at most 64 letters, digits, dots, dashes and underscores"
        raise InvalidInput(f"expected {expected} for a stream, got {name!r:.80}")
    return name


def open_log(path: Path) -> LogDirectory:
    """Return the directory of an existing log.

    Raises:
        MaskLogUnreadable: There is none.
    """
    directory = LogDirectory(path=path)
    if not directory.manifest.is_file():
        got = "a directory without it" if path.is_dir() else "no directory"
        message = f"expected a mask log with {MANIFEST} at {path}, got {got}"
        raise MaskLogUnreadable(message)
    return directory


def open_inside(root: Path, path: Path) -> BinaryIO:
    """Open a regular file below a log's directory for reading; no link is followed below `root`.

    Args:
        root: The log's directory.
        path: A file below it.

    Raises:
        MaskLogUnreadable: It is not there, no regular file, or reached through a link.
    """
    descriptor = _descend(root, path.relative_to(root).parts)
    try:
        sound = stat.S_ISREG(os.fstat(descriptor).st_mode)
        if sound:
            return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    raise MaskLogUnreadable(f"expected a file at {path}, got something else")


def read_outside(path: Path, *, limit: int) -> bytes:
    """Read a whole file that somebody names; a pipe or a device is refused, not waited for.

    Args:
        path: The file.
        limit: Most bytes that it may have.

    Raises:
        OSError: It cannot be opened.
        MaskLogUnreadable: It is no regular file, or longer.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise MaskLogUnreadable(f"expected a regular file at {path}, got something else")
        contents = bytearray()
        while len(contents) <= limit and (chunk := os.read(descriptor, limit + 1 - len(contents))):
            contents += chunk
    finally:
        os.close(descriptor)
    if len(contents) > limit:
        raise MaskLogUnreadable(f"expected at most {limit} bytes in {path}, got more")
    return bytes(contents)


def read_inside(root: Path, path: Path, *, limit: int) -> bytes:
    """Read a whole file below a log's directory.

    Args:
        root: The log's directory.
        path: A file below it.
        limit: Most bytes that it may have.

    Raises:
        MaskLogUnreadable: It cannot be read, or is longer.
    """
    with open_inside(root, path) as stream:
        contents = stream.read(limit + 1)
    if len(contents) > limit:
        raise MaskLogUnreadable(f"expected at most {limit} bytes in {path}, got more")
    return contents


def _descend(root: Path, parts: Sequence[str]) -> int:
    opened = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for position, part in enumerate(parts):
            last = position == len(parts) - 1
            kind = os.O_NONBLOCK if last else os.O_DIRECTORY
            inner = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | kind, dir_fd=opened)
            os.close(opened)
            opened = inner
    except OSError as error:
        os.close(opened)
        shown = root.joinpath(*parts)
        message = f"expected a file at {shown}, not a link, got: {error.strerror}"
        raise MaskLogUnreadable(message) from error
    return opened


def _entries(directory: Path) -> list[str]:
    """Names in a directory that is not a link; none where there is no directory."""
    if directory.is_symlink():
        raise MaskLogUnreadable(f"expected a directory at {directory}, got a link")
    try:
        return sorted(os.listdir(directory))  # noqa: PTH208 - names only
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        raise MaskLogUnreadable(f"expected a directory at {directory}, got a file") from None
