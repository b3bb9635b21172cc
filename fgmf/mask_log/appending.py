"""Append to files so that a killed process leaves whole records, and a full disk none at all.

One `os.write` per record, without a buffer of our own: once it returned, the record is the
kernel's, and a killed process loses nothing. What was written in part is cut off again.
"""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

from fgmf.canonical import write_atomically

if TYPE_CHECKING:
    from pathlib import Path


class AppendedFile:
    """A file that only grows.

    Attributes:
        path: Where it lies.
        size: Bytes that were written whole.
    """

    def __init__(self, path: Path) -> None:
        """Open, or make, the file.

        Raises:
            OSError: It cannot be opened, or is a link.
        """
        self.path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o666)
        self.size = os.fstat(self._descriptor).st_size

    def append(self, data: bytes) -> None:
        """Write all of `data` in one call, or nothing.

        Raises:
            OSError: It could not be written; the file is as it was.
        """
        try:
            written = os.write(self._descriptor, data)
            if written != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        except BaseException:
            self.cut(self.size)
            raise
        self.size += len(data)

    def cut(self, size: int) -> None:
        """Cut the file off at `size` bytes."""
        os.ftruncate(self._descriptor, size)
        self.size = size

    def sync(self) -> None:
        """Return when the file is on the disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def sync_directory(path: Path) -> None:
    """Return when the names in a directory are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class BackgroundSync:
    """Brings files to the disk in a thread of its own, the latest request only.

    A request is (files, path, text): the files are synchronised first, then the text is written, so
    that a checkpoint never speaks of records that a power cut could take.
    """

    def __init__(self) -> None:
        """Start no thread before there is something to do."""
        self._condition = threading.Condition()
        self._request: tuple[tuple[AppendedFile, ...], Path, str] | None = None
        self._busy = False
        self._thread: threading.Thread | None = None
        self._error: OSError | None = None

    def ask(self, files: tuple[AppendedFile, ...], path: Path, text: str) -> None:
        """Ask for a checkpoint; one that still waits is replaced.

        Raises:
            OSError: An earlier one failed.
        """
        with self._condition:
            error, self._error = self._error, None
            if error is not None:
                raise error
            self._request = (files, path, text)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True, name="mask-log")
                self._thread.start()
            self._condition.notify_all()

    def wait(self) -> None:
        """Return when nothing is left to do.

        Raises:
            OSError: The disk refused.
        """
        with self._condition:
            while self._request is not None or self._busy:
                self._condition.wait()
            error, self._error = self._error, None
            if error is not None:
                raise error

    def stop(self) -> None:
        """Wait, and end the thread."""
        try:
            self.wait()
        finally:
            with self._condition:
                thread, self._thread = self._thread, None
                self._condition.notify_all()
            if thread is not None:
                thread.join()

    def _work(self) -> None:
        while True:
            with self._condition:
                while self._request is None and self._thread is not None:
                    self._condition.wait()
                if self._request is None:
                    return
                (files, path, text), self._request, self._busy = self._request, None, True
            error = _carry_out(files, path, text)
            with self._condition:
                self._busy, self._error = False, error or self._error
                self._condition.notify_all()


def _carry_out(files: tuple[AppendedFile, ...], path: Path, text: str) -> OSError | None:
    try:
        for file in files:
            file.sync()
        write_atomically(path, text.encode())
    except OSError as error:
        return error
    return None
