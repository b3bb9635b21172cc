"""Open a stream for writing, or say why not; what its framing records say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.errors import InvalidInput, MaskLogUnwritable
from fgmf.mask_log.following import StreamFollower
from fgmf.mask_log.places import FORMAT, LOCK

if TYPE_CHECKING:
    from filelock import BaseFileLock

    from fgmf.mask_log.manifest import Manifest
    from fgmf.mask_log.places import LogDirectory
    from fgmf.types import Json


def new_state(manifest: Manifest, stream: str) -> StreamFollower:
    """Return a stream without records."""
    return StreamFollower(
        run=manifest.run, stream=stream, manifest=manifest.digest, every=manifest.every
    )


def begin_body(manifest: Manifest, stream: str) -> dict[str, Json]:
    """Return what the first record of a stream says."""
    return {
        "attempt": 0,
        "code": code_version(),
        "every": manifest.every,
        "format": FORMAT,
        "manifest": manifest.digest,
        "run": manifest.run,
        "stream": stream,
    }


def segment_body(state: StreamFollower) -> dict[str, Json]:
    """Return what the first record of the next segment says."""
    return {
        "pack": state.pack,
        "peaks": [peak.hex() for peak in state.tree.peaks],
        "segment": state.segment + 1,
        "size": state.seq,
    }


def end_body(state: StreamFollower, status: str) -> dict[str, Json]:
    """Return what the end of a stream says."""
    return {
        **vars(state.counts),
        "pack": state.pack,
        "records": state.seq,
        "root": state.tree.root().hex(),
        "status": status,
    }


def unwritable(error: OSError, directory: LogDirectory) -> MaskLogUnwritable:
    """Return what a caller is told where the disk refused."""
    why = error.strerror or type(error).__name__
    message = f"expected to write the mask log at {directory.path}, got: {why}"
    return MaskLogUnwritable(f"{message}; make room or choose another directory")


def locked(directory: LogDirectory, stream: str) -> BaseFileLock:
    """Take the lock of a stream.

    Raises:
        InvalidInput: Somebody writes the stream.
        OSError: The directory cannot be written.
    """
    from filelock import FileLock, Timeout

    path = directory.stream(stream) / LOCK
    if path.is_symlink():
        raise InvalidInput(f"expected a lock at {path}, got a link; remove it")
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        message = f"expected a stream that nobody writes, got {stream!r}, which is being written"
        raise InvalidInput(f"{message}; give every process a stream of its own") from None
    return lock


def code_version() -> str:
    """Name the code that writes."""
    from fgmf import __version__

    return f"fgmf {__version__}"
