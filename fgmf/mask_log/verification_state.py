"""The state of a verification, kept outside the log, so that one that was interrupted goes on.

    fgmf-mask-log-state/2 sha256:<digest of the rest>
    {"identity": what it was for, "observers": their tallies, "streams": per stream, see `streams`}

A state takes nothing on trust from the log: what lies behind it is hashed again before anything is
read on (`marks`), and anything that differs (the log, what it is held against, the program) makes
the verification begin again, and say why. The state itself is trusted as far as its own digest
goes, which tells a damaged file, not a forged one: it belongs where the log's writer cannot write.
"""

from __future__ import annotations

import hashlib
import json
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from fgmf.canonical import write_atomically
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from fgmf.types import Json

FAMILY: Final = b"fgmf-mask-log-state/"
STATE_FORMAT: Final = FAMILY + b"2"


@runtime_checkable
class ResumableObserver(Protocol):
    """An observer whose tallies can be kept and taken up again."""

    def identity(self) -> dict[str, Json]:
        """Say what it asks for: tallies are of use only to one that asks for the same."""

    def as_document(self) -> dict[str, Json]:
        """Return its tallies."""

    def restore(self, document: Mapping[str, Any]) -> None:
        """Take up tallies."""


class UnusableState(Exception):
    """A state cannot be gone on from; the message says why."""


def checked_state_path(path: Path, log: Path) -> Path:
    """Return the path of a state, links followed.

    Args:
        path: Of the state; may be new.
        log: Directory of the log.

    Raises:
        InvalidInput: It lies in the log, is no place for a file, or holds something else.
    """
    real = path.resolve()
    if real.is_relative_to(log.resolve()):
        message = "expected a state that is kept outside the log, got a path inside of it"
        raise InvalidInput(f"{message} ({path}); whoever rewrites the log rewrites it too")
    if not real.parent.is_dir() or (real.exists() and not real.is_file()):
        raise InvalidInput(f"expected a file in an existing directory for the state, got {path}")
    if real.exists():
        with real.open("rb") as stream:
            beginning = stream.read(len(FAMILY))
        if beginning and beginning != FAMILY:
            message = f"expected a state of a verification, or no file yet, at {path}"
            raise InvalidInput(f"{message}, got something else; it would be written over")
    return real


def read_state(path: Path, identity: Mapping[str, Json]) -> dict[str, Any] | None:
    """Read a state.

    Args:
        path: Of the state.
        identity: What it must have been kept for.

    Returns:
        The state; None where there is none yet.

    Raises:
        UnusableState: It is damaged, of another version, or for something else.
    """
    if not path.exists():
        return None
    first, _, rest = path.read_bytes().partition(b"\n")
    version, _, digest = first.partition(b" ")
    if version.startswith(FAMILY) and version != STATE_FORMAT:
        raise UnusableState("the state was kept by another version")
    if version != STATE_FORMAT or digest != _digest(rest):
        raise UnusableState("the state is damaged")
    try:
        document = json.loads(rest)
        kept = document["identity"]
        for name, value in identity.items():
            if kept[name] != value:
                raise UnusableState(f"the state was kept for another {name}")
    except (ValueError, LookupError, TypeError, RecursionError):
        raise UnusableState("the state is damaged") from None
    return dict(document)


def _digest(contents: bytes) -> bytes:
    return b"sha256:" + hashlib.sha256(contents).hexdigest().encode()


class StateKeeper:
    """Writes the state of one verification, now and then and where it is interrupted."""

    def __init__(
        self,
        path: Path,
        *,
        identity: dict[str, Json],
        progress: Callable[[], dict[str, Json] | None],
        records: int,
        seconds: float,
    ) -> None:
        """Take where and how often.

        Args:
            path: As `checked_state_path` returned it.
            identity: What the state is for.
            progress: Returns how far it is, None for no state; called between two records only.
            records: Most records between two states.
            seconds: Most seconds between two states, while records are read.
        """
        self.identity = identity
        self._path, self._progress = path, progress
        self._records, self._seconds = records, seconds
        self._count, self._next = 0, time.monotonic() + seconds
        self._stopped = self._interrupted = False

    def stop(self) -> None:
        """Write no more states: something is wrong, and is found again from the last one."""
        self._stopped = True

    def take(self) -> None:
        """Say that a record was read, and all that belongs to it.

        Raises:
            KeyboardInterrupt: The verification was interrupted; the state is written.
            OSError: The state cannot be written.
        """
        self._count += 1
        if self._count >= self._records or time.monotonic() >= self._next or self._interrupted:
            self._write()
            if self._interrupted:
                raise KeyboardInterrupt

    def _write(self) -> None:
        progress = None if self._stopped else self._progress()
        if progress is not None:
            document = {"identity": self.identity, **progress}
            contents = json.dumps(document, separators=(",", ":")).encode()
            write_atomically(self._path, STATE_FORMAT + b" " + _digest(contents) + b"\n" + contents)
        self._count, self._next = 0, time.monotonic() + self._seconds

    def remove(self) -> None:
        """Remove the state: the verification has come to its end."""
        self._path.unlink(missing_ok=True)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let Ctrl-C wait for the end of a record, so that the state is whole; the second doesn't.

        Only in the main thread, and only where Ctrl-C means what it means in Python.
        """
        usual = signal.default_int_handler
        main = threading.current_thread() is threading.main_thread()
        if not main or signal.getsignal(signal.SIGINT) is not usual:
            yield
            return

        def note(_number: int, _frame: object) -> None:
            self._interrupted = True
            signal.signal(signal.SIGINT, usual)

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, usual)
        if self._interrupted:
            self._write()
            raise KeyboardInterrupt
