"""Checkpoints of one stream and heads of the whole log, as text that people can copy.

A checkpoint names the size and the root of one stream. A head is a checkpoint over all streams:
a tree with one leaf per stream, and the streams themselves in the lines below::

    fgmf-mask-log/1 RUN                     origin
    12000                                   records of all streams
    uQ3...=                                 root over the lines of the streams, base64
    manifest sha256:...
    stream train-0 6000 mF1...=
    stream train-1 6000 Zk0...=

    — NAME SIGNATURE                        optional, as in C2SP signed notes

Its digest ``sha256:...`` is the one line to keep outside the log.

Source: C2SP tlog-checkpoint (origin, size, root, extension lines) and signed-note.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Final

from fgmf.errors import BrokenRecord
from fgmf.mask_log.places import FORMAT
from fgmf.mask_log.tree import EMPTY_ROOT, leaf_hash, root_of

_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,17}")
_HEAD_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
LONGEST_TEXT: Final = 2**20
"""Bytes of the longest checkpoint or head that is read."""


@dataclass(frozen=True, kw_only=True, order=True)
class StreamHead:
    """How far a stream was, and the root of its tree then."""

    stream: str
    size: int
    root: bytes

    def line(self) -> str:
        """Write the stream's line in a head."""
        return f"stream {self.stream} {self.size} {_base64(self.root)}"

    def leaf(self) -> bytes:
        """Return the hash of the stream's leaf in the head's tree."""
        return leaf_hash(self.line().encode())


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a log was at one time.

    Attributes:
        run: Name of the run.
        manifest: ``sha256:<hex>`` of its manifest.
        streams: Sorted by name.
    """

    run: str
    manifest: str
    streams: tuple[StreamHead, ...]

    @property
    def size(self) -> int:
        """Records of all streams."""
        return sum(stream.size for stream in self.streams)

    @property
    def root(self) -> bytes:
        """Root over the streams."""
        return root_of([stream.leaf() for stream in self.streams]) if self.streams else EMPTY_ROOT

    def text(self) -> str:
        """Write the head, without signatures."""
        lines = [f"{FORMAT} {self.run}", str(self.size), _base64(self.root)]
        lines += [f"manifest {self.manifest}", *(stream.line() for stream in self.streams)]
        return "\n".join(lines) + "\n"

    @property
    def digest(self) -> str:
        """The line to keep outside the log."""
        return "sha256:" + hashlib.sha256(self.text().encode()).hexdigest()


def checkpoint_text(run: str, head: StreamHead) -> str:
    """Write the checkpoint of one stream."""
    return f"{FORMAT} {run} {head.stream}\n{head.size}\n{_base64(head.root)}\n"


def read_checkpoint(text: str, *, run: str, stream: str) -> StreamHead:
    """Read the checkpoint of one stream.

    Raises:
        BrokenRecord: It is none, or that of another stream or run.
    """
    lines = text.split("\n")
    if len(lines) != 4 or lines[3] or lines[0] != f"{FORMAT} {run} {stream}":
        raise BrokenRecord(f"expected the checkpoint of stream {stream} of run {run}")
    return StreamHead(stream=stream, size=_size(lines[1]), root=_hash(lines[2]))


def read_head(text: str) -> tuple[Head, tuple[str, ...]]:
    """Read a head.

    Returns:
        The head, and its signature lines as they stand there, unchecked.

    Raises:
        BrokenRecord: It is none, or its size or root is not that of its streams.
    """
    body, _, below = text.partition("\n\n")
    lines = (body if below else body.removesuffix("\n")).split("\n")
    if len(lines) < 4 or not lines[0].startswith(f"{FORMAT} ") or "manifest " not in lines[3]:
        raise BrokenRecord("expected the text of a head")
    streams = tuple(map(_stream, lines[4:]))
    head = Head(
        run=lines[0].removeprefix(f"{FORMAT} "),
        manifest=lines[3].removeprefix("manifest "),
        streams=streams,
    )
    if list(streams) != sorted(streams, key=lambda entry: entry.stream):
        raise BrokenRecord("expected the streams of a head sorted by name")
    signatures = tuple(line for line in below.split("\n") if line)
    written = head.text() + ("\n" + "".join(f"{line}\n" for line in signatures) if below else "")
    if written != text or any(not line.startswith("\u2014 ") for line in signatures):
        raise BrokenRecord("the size, the root or the form of a head is not that of its streams")
    return head, signatures


def is_head_digest(text: str) -> bool:
    """Say whether a text is the one-line form of a head."""
    return _HEAD_DIGEST.fullmatch(text) is not None


def _stream(line: str) -> StreamHead:
    parts = line.split(" ")
    if len(parts) != 4 or parts[0] != "stream":
        raise BrokenRecord("expected a line `stream NAME SIZE ROOT` in a head")
    return StreamHead(stream=parts[1], size=_size(parts[2]), root=_hash(parts[3]))


def _size(text: str) -> int:
    if _SIZE.fullmatch(text) is None:
        raise BrokenRecord("expected a decimal size")
    return int(text)


def _hash(text: str) -> bytes:
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BrokenRecord("expected a root in base64") from None
    if len(value) != 32 or _base64(value) != text:
        raise BrokenRecord("expected a root of 32 bytes in base64")
    return value


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
