"""Write one stream: the only one who may, for as long as its lock is held.

    arrays of a batch  -> the pack, one write
    its record         -> the segment, one write         (now it is acknowledged)
    every so often     -> a checkpoint record; files to the disk and the checkpoint's text, in a
                          thread of their own
    close              -> end record with counts, everything to the disk

Either a record and its arrays are there, or neither is. What fails raises `MaskLogUnwritable`, or,
where the caller goes on, is counted and stands in a record of kind `lost` as soon as one can be
written; the log then never is complete.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from fgmf.errors import InvalidInput, MaskLogUnwritable
from fgmf.mask_log.appending import AppendedFile, BackgroundSync, sync_directory
from fgmf.mask_log.heads import StreamHead, checkpoint_text
from fgmf.mask_log.opening import (
    begin_body,
    code_version,
    end_body,
    locked,
    new_state,
    segment_body,
    unwritable,
)
from fgmf.mask_log.packs import Packer
from fgmf.mask_log.records import encode_canonical, encode_record
from fgmf.mask_log.resuming import follow_to_the_end
from fgmf.mask_log.settings import Losses, WriterSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from fgmf.mask_log.manifest import Manifest
    from fgmf.mask_log.packs import SampleBatch
    from fgmf.mask_log.places import LogDirectory
    from fgmf.mask_log.rows import Layout
    from fgmf.types import Json


class StreamWriter:
    """Writes one stream of a log; safe to call from several threads, in one process."""

    def __init__(
        self,
        directory: LogDirectory,
        stream: str,
        manifest: Manifest,
        *,
        settings: WriterSettings | None = None,
        resume: bool = False,
    ) -> None:
        """Take the stream's lock, and write its first record, or go on after its last.

        Args:
            directory: The log; its manifest is written.
            stream: Name of the stream.
            manifest: The log's manifest.
            settings: How it is written.
            resume: Go on with a stream that is there.

        Raises:
            InvalidInput: Somebody writes the stream, or it is there and `resume` is not said.
            MaskLogUnwritable: The directory cannot be written.
            BrokenRecord: The stream that is there is torn or broken; repair it first.
        """
        self.directory, self.stream, self.manifest = directory, stream, manifest
        self.settings = settings or WriterSettings()
        self.losses = Losses()
        self._process, self._guard = os.getpid(), threading.RLock()
        self._packer, self._sync = Packer(), BackgroundSync()
        self._closed = False
        try:
            directory.stream(stream).mkdir(parents=True, exist_ok=True)
            self._lock = locked(directory, stream)
            try:
                self._open(resume=resume)
            except BaseException:
                self._lock.release()
                raise
        except OSError as error:
            raise unwritable(error, directory) from error

    def append(self, kind: str, body: dict[str, Json]) -> int | None:
        """Write one record.

        Returns:
            Its number; None if it is lost and the caller goes on.

        Raises:
            MaskLogUnwritable: It could not be written; the stream is as it was.
            InvalidInput: The body is not JSON.
        """
        return self._written(lambda: self._append(kind, body), samples=0, step=None)

    def append_batch(self, batch: SampleBatch, body: Mapping[str, Json]) -> int | None:
        """Write the record of a batch and its arrays.

        Args:
            batch: The samples.
            body: Members of the record beside those that the batch determines.

        Returns:
            Number of the record; None if it is lost and the caller goes on.

        Raises:
            MaskLogUnwritable: It could not be written; the stream is as it was.
        """
        step = body["step"]
        return self._written(
            lambda: self._write_batch(batch, dict(body)),
            samples=len(batch.ids),
            step=step if isinstance(step, int) else None,
        )

    def append_bytes(self, kind: str, data: bytes, body: Mapping[str, Json]) -> int | None:
        """Write a record with bytes of its own in the pack.

        Args:
            kind: Kind of record.
            data: The bytes.
            body: Members of the record beside ``pack``.

        Returns:
            Number of the record; None if it is lost and the caller goes on.

        Raises:
            MaskLogUnwritable: It could not be written; the stream is as it was.
        """

        def write() -> int:
            start = self._pack.size
            self._pack.append(data)
            return self._append(kind, {**body, "pack": [start, start, self._pack.size]})

        return self._written(write, samples=0, step=None)

    def checkpoint(self) -> None:
        """Write a checkpoint record now, and have everything brought to the disk.

        Raises:
            MaskLogUnwritable: It could not be written.
        """
        self._must_be_of_this_process()
        with self._guard:
            self._must_be_open()
            try:
                self._checkpoint()
            except OSError as error:
                raise unwritable(error, self.directory) from error

    def head(self) -> StreamHead:
        """Return how far the stream is."""
        with self._guard:
            state = self._state
            return StreamHead(stream=self.stream, size=state.seq, root=state.tree.root())

    def close(self, status: str = "closed") -> StreamHead:
        """Write the end, bring everything to the disk, and give up the lock.

        Args:
            status: How the run ended; `closed` is the only good one.

        Returns:
            How far the stream is.

        Raises:
            MaskLogUnwritable: The end could not be written; the log is then incomplete.
        """
        with self._guard:
            if self._closed:
                return self.head()
            self._closed = True
            if os.getpid() != self._process:
                return self.head()
            try:
                try:
                    self._end(status)
                finally:
                    self._release()
            except OSError as error:
                raise unwritable(error, self.directory) from error
            return self.head()

    def abandon(self) -> None:
        """Give up the stream without an end, as a crash would."""
        with self._guard:
            if not self._closed:
                self._closed = True
                self._release()

    def _open(self, *, resume: bool) -> None:
        there = self.directory.segments(self.stream)
        if there and not resume:
            message = f"expected a new stream, got {self.stream!r}, which is there"
            raise InvalidInput(f"{message}; choose another name, or say resume=True")
        begun = follow_to_the_end(self.directory, self.stream, self.manifest) if there else None
        self._state = begun or new_state(self.manifest, self.stream)
        self._open_files()
        self._segment_began = self._last_checkpoint = time.monotonic()
        self._since_checkpoint = 0
        try:
            if begun is None:
                self._append("begin", begin_body(self.manifest, self.stream))
            else:
                self._append("resume", {"attempt": begun.attempt + 1, "code": code_version()})
            sync_directory(self.directory.stream(self.stream))
        except BaseException:
            self._close_files()
            if begun is None:
                self._records.path.unlink(missing_ok=True)
                self._pack.path.unlink(missing_ok=True)
            raise

    def _open_files(self) -> None:
        segment = self._state.segment
        self._records = AppendedFile(self.directory.records(self.stream, segment))
        try:
            self._pack = AppendedFile(self.directory.pack(self.stream, segment))
        except BaseException:
            self._records.close()
            raise
        self._forget_segment()
        for number, layout in self._state.layouts.items():
            self._numbers[encode_canonical(layout.as_document())] = number

    def _forget_segment(self) -> None:
        """Forget what only one segment knows: its arrays and its layouts."""
        self._packer.forget()
        self._numbers: dict[bytes, int] = {}
        self._last_layout: tuple[Layout | None, int] = (None, 0)

    def _append(self, kind: str, body: dict[str, Json]) -> int:
        state = self._state
        number, at = state.seq, max(time.time_ns() // 1_000_000, state.at)
        line, record = encode_record(kind=kind, seq=number, at=at, prev=state.prev, body=body)
        size = self._records.size
        self._records.append(line)
        try:
            if self.settings.durability == "record":
                self._pack.sync()
                self._records.sync()
            state.take(record)
        except BaseException:
            self._records.cut(size)
            raise
        self._since_checkpoint += 1
        return number

    def _write_batch(self, batch: SampleBatch, body: dict[str, Json]) -> int:
        number = self._layout_number(batch.layout)
        start = self._pack.size
        packed = self._packer.pack(batch, start)
        self._pack.append(packed.entry)
        body |= {
            "count": len(batch.ids),
            "layout": number,
            "pack": [start, start + packed.row_bytes, self._pack.size],
            "root": packed.root.hex(),
        }
        return self._append("batch", body)

    def _layout_number(self, layout: Layout) -> int:
        if self._last_layout[0] is layout:
            return self._last_layout[1]
        key = encode_canonical(layout.as_document())
        if key not in self._numbers:
            number = len(self._state.layouts)
            self._append("layout", {"id": number, "layout": layout.as_document()})
            self._numbers[key] = number
        self._last_layout = (layout, self._numbers[key])
        return self._numbers[key]

    def _written(self, write: Callable[[], int], *, samples: int, step: int | None) -> int | None:
        """Write one record and what is due, or leave everything as it was."""
        self._must_be_of_this_process()
        with self._guard:
            self._must_be_open()
            try:
                self._record_losses()
                self._rotate_if_due()
                number = write()
            except OSError as error:
                self._undo()
                self._lose(error, samples=samples, step=step)
                return None
            except BaseException:
                self._undo()
                raise
            try:
                self._after_record()
            except OSError as error:  # the record is there, the checkpoint is not: later
                self._lose(error, samples=0, step=None)
            return number

    def _lose(self, error: OSError, *, samples: int, step: int | None) -> None:
        self.losses.count(samples, step, error.strerror or type(error).__name__)
        if self.settings.on_error == "raise":
            raise unwritable(error, self.directory) from error

    def _record_losses(self) -> None:
        if self.losses.batches:
            self._append("lost", self.losses.body())
            self.losses = Losses()

    def _undo(self) -> None:
        """Take back the arrays of a record that was not written."""
        self._packer.forget()
        if self._pack.size > self._state.pack:
            self._pack.cut(self._state.pack)

    def _after_record(self) -> None:
        due = self._since_checkpoint >= self.settings.checkpoint_records
        late = time.monotonic() - self._last_checkpoint >= self.settings.checkpoint_seconds
        if due or late:
            self._checkpoint()

    def _checkpoint(self) -> None:
        state = self._state
        self._append("checkpoint", {"root": state.tree.root().hex(), "size": state.seq})
        self._since_checkpoint, self._last_checkpoint = 0, time.monotonic()
        self._sync.ask((self._pack, self._records), *self._checkpoint_file())

    def _checkpoint_file(self) -> tuple[Path, str]:
        text = checkpoint_text(self.manifest.run, self.head())
        return self.directory.checkpoint(self.stream), text

    def _rotate_if_due(self) -> None:
        age = time.monotonic() - self._segment_began
        limit = self.settings.segment_seconds
        full = self._records.size + self._pack.size >= self.settings.segment_bytes
        if full or (limit is not None and age >= limit):
            self._rotate()

    def _rotate(self) -> None:
        state = self._state
        self._sync.wait()
        body = segment_body(state)
        self._records.sync()
        self._pack.sync()
        records, pack = self._records, self._pack
        state.open_segment()
        self._records = AppendedFile(self.directory.records(self.stream, state.segment + 1))
        try:
            self._append("segment", body)
        except BaseException:
            self._records.close()
            self._records.path.unlink(missing_ok=True)
            self._records, state.fresh_segment = records, False
            raise
        self._segment_began = time.monotonic()
        self._pack = AppendedFile(self.directory.pack(self.stream, state.segment))
        records.close()
        pack.close()
        self._forget_segment()
        sync_directory(self.directory.stream(self.stream))

    def _end(self, status: str) -> None:
        self._record_losses()
        self._append("end", end_body(self._state, status))
        self._sync.ask((self._pack, self._records), *self._checkpoint_file())
        self._sync.wait()

    def _release(self) -> None:
        try:
            self._sync.stop()
        finally:
            self._close_files()
            self._lock.release()

    def _close_files(self) -> None:
        self._records.close()
        self._pack.close()

    def _must_be_of_this_process(self) -> None:
        """Refuse a fork before it waits for the lock, which a thread may hold that it has not."""
        if os.getpid() != self._process:
            message = "expected a mask log to be written by the process that opened it, got a fork"
            raise MaskLogUnwritable(f"{message}; open a stream of its own in each process")

    def _must_be_open(self) -> None:
        if self._closed:
            raise MaskLogUnwritable("expected an open mask log, got a closed one")
