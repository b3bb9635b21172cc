"""Verify one stream, record by record, up to the first thing that is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from fgmf.errors import BrokenRecord, InvalidInput
from fgmf.mask_log.batches import BatchChecker
from fgmf.mask_log.completeness import StreamTally
from fgmf.mask_log.manifest import Expectation
from fgmf.mask_log.marks import Changed, Marks
from fgmf.mask_log.opening import new_state
from fgmf.mask_log.places import RESERVED
from fgmf.mask_log.reading import (
    MisplacedRecord,
    PackReader,
    Place,
    TornTail,
    is_cut_off,
    read_segment,
)
from fgmf.mask_log.report import StreamReport, Trouble, amount

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fgmf.mask_log.batches import Tombstone
    from fgmf.mask_log.manifest import Manifest
    from fgmf.mask_log.places import LogDirectory
    from fgmf.mask_log.records import Record
    from fgmf.mask_log.report import TroubleKind
    from fgmf.mask_log.rows import Layout
    from fgmf.types import Json


@dataclass(frozen=True, kw_only=True, slots=True)
class ObservedBatch:
    """A batch that holds, and where its arrays are.

    Attributes:
        stream: Name of the stream.
        record: Its record.
        layout: Of its rows.
        rows: None for those that were erased.
        segment: Number of the segment.
        pack: The segment's pack, open for reading while the observer looks.
    """

    stream: str
    record: Record
    layout: Layout
    rows: Sequence[bytes | None]
    segment: int
    pack: PackReader


class Observer(Protocol):
    """Looks at everything that holds, while a log is read."""

    def take(self, batch: ObservedBatch) -> None:
        """Take a batch."""

    def take_weights(self, stream: str, record: Record, segment: int) -> None:
        """Take a record with the weights of a layer."""


@dataclass(frozen=True, kw_only=True)
class StreamTask:
    """What a stream is held against.

    Attributes:
        directory: The log.
        manifest: Its manifest.
        name: Name of the stream.
        claimed: For each size, who names a root of the stream, and which.
        tombstones: Of the stream's batches, by record number and row.
        observers: Look at everything that holds.
        on_bytes: Told how many bytes of records were read.
        on_record: Called after each record, where marks are kept of what was read; else None.
    """

    directory: LogDirectory
    manifest: Manifest
    name: str
    claimed: Mapping[int, Sequence[tuple[str, bytes]]]
    tombstones: Mapping[int, Mapping[int, Tombstone]]
    observers: Sequence[Observer]
    on_bytes: Callable[[int], None]
    on_record: Callable[[], None] | None = None


class StreamVerifier:
    """One stream while it is verified."""

    def __init__(self, task: StreamTask) -> None:
        """Take what the stream is held against; nothing is read yet."""
        manifest, name = task.manifest, task.name
        self.task, self.name, self.directory = task, name, task.directory
        self.claimed = dict(task.claimed)
        self.state = new_state(manifest, name)
        expected = manifest.streams.get(name)
        self.unexpected = bool(manifest.streams) and expected is None and name not in RESERVED
        self.sampled = manifest.every > 1
        skips = (*manifest.skips, "sampling") if self.sampled else manifest.skips
        self.tally = StreamTally(expected or Expectation(), skips=skips)
        self.troubles: list[Trouble] = []
        self.first_at: int | None = None
        self.number = 0
        self.checker: BatchChecker | None = None
        self.marks = None if task.on_record is None else Marks()

    @property
    def root(self) -> bytes:
        """Root over the records that hold."""
        return self.state.tree.root()

    @property
    def report(self) -> StreamReport:
        """What the stream holds."""
        state = self.state
        return StreamReport(
            stream=self.name,
            records=state.seq,
            **vars(state.counts),
            erased=self.tally.erased,
            attempts=state.attempt,
            ended=state.ended,
            first_at=self.first_at,
            last_at=state.at if state.seq else None,
        )

    def miss(self) -> None:
        """Say that the stream is not there."""
        kind: TroubleKind = "tampered" if self.claimed else "incomplete"
        more = f", and {self._first_claim()}" if self.claimed else ""
        self._trouble(kind, f"the stream is not there{more}")

    def read(self) -> None:
        """Read the stream.

        Raises:
            MaskLogUnreadable: A file of it cannot be read.
        """
        if self.unexpected:
            self._trouble("tampered", "the manifest names no such stream")
        self._read_segments()
        if self.claimed:
            what = f"{self._first_claim()}, and only {self.state.seq} hold"
            self._trouble("tampered", what)
        if not self.troubles:
            self._complete()

    def as_document(self) -> dict[str, Json]:
        """Return where the reading stands, between two records, as JSON.

        Raises:
            InvalidInput: No marks are kept.
        """
        if self.marks is None:
            raise InvalidInput("expected a stream that is read with marks")
        if self.checker is not None:
            self.marks.unfinished = self.checker.unfinished
        return {
            "first_at": self.first_at,
            "follower": self.state.as_document(),
            "marks": self.marks.as_document(),
            "name": self.name,
            "tally": self.tally.as_document(),
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Stand where a reading stood, after everything before was shown to be the same bytes.

        Args:
            document: What `as_document` returned.

        Raises:
            Changed: What was read before is not what it was, or is held against something else.
            MaskLogUnreadable: A file is not there any more.
        """
        marks = self.marks = Marks()
        marks.recall(document["marks"], self.directory, self.name, on_bytes=self.task.on_bytes)
        self.state.restore(document["follower"])
        self.tally.restore(document["tally"])
        self.first_at, self.number = document["first_at"], max(0, self.state.seq - 1)
        for size in [size for size in self.claimed if 0 < size <= self.state.seq]:
            now = self.root.hex() if size == self.state.seq else None
            for source, root in self.claimed.pop(size):
                if root.hex() not in {marks.held.get(size), now}:
                    what = f"stream {self.name}: {source} says something new about"
                    raise Changed(f"{what} its first {size} records")
            marks.held.setdefault(size, now or marks.held[size])

    def _trouble(self, kind: TroubleKind, what: str, place: Place | None = None) -> None:
        where: dict[str, Any] = {}
        if place is not None:
            where = {"segment": place.segment, "line": place.line, "offset": place.offset}
            where["record"] = self.number
        self.troubles.append(Trouble(kind=kind, what=what, stream=self.name, **where))

    def _first_claim(self) -> str:
        size = min(self.claimed)
        return f"{self.claimed[size][0][0]} says {size} records"

    def _read_segments(self) -> None:
        segments = self.directory.segments(self.name)
        if not segments:
            self._trouble("incomplete", "the stream has no record")
        start = 0 if self.marks is None else self.marks.segment
        for seal in () if self.marks is None else self.marks.seals:
            self._say_unfinished(seal.unfinished)
        for position, segment in enumerate(segments):
            if segment != position:
                self._trouble("tampered", f"segment {position:06d}.jsonl is not there")
                return
            if position < start:
                continue
            pack = PackReader(self.directory, self.name, segment)
            try:
                sound = self._read_segment(segment, pack, last=position == len(segments) - 1)
            finally:
                pack.close()
            if not sound:
                return

    def _read_segment(self, segment: int, pack: PackReader, *, last: bool) -> bool:
        """Read one segment; False where reading ends."""
        after = self._begin_segment(segment)
        checker = BatchChecker(pack=pack, tombstones=self.task.tombstones)
        if self.marks is not None:
            checker.unfinished = self.marks.unfinished
        self.checker = checker
        place = after or Place(segment=segment, line=1, offset=0, length=0)
        try:
            for record, place in read_segment(  # noqa: B007 - where it was, for what is raised
                self.directory, self.name, segment, on_line=self._line, after=after
            ):
                self._take(record, checker)
        except TornTail as torn:
            return self._torn(torn.place, last=last)
        except MisplacedRecord as misplaced:
            self.number = self.state.seq
            self._trouble("tampered", misplaced.reason, misplaced.place)
            return False
        except BrokenRecord as broken:
            self._trouble("tampered", str(broken), place)
            return False
        self._say_unfinished(checker.unfinished)
        return self._pack_ends(pack, place, last=last)

    def _begin_segment(self, segment: int) -> Place | None:
        """Begin a segment; return the record to go on after, where it was begun before."""
        marks = self.marks
        if marks is not None:
            if segment > marks.segment:
                marks.unfinished = self.checker.unfinished if self.checker else marks.unfinished
                marks.next_segment()
            elif marks.line:
                return marks.last
        if segment:
            self.state.open_segment()
        return None

    def _line(self, line: bytes) -> None:
        marks, task = self.marks, self.task
        task.on_bytes(len(line))
        if marks is not None and task.on_record is not None:
            marks.take_line(line)
            task.on_record()

    def _say_unfinished(self, count: int) -> None:
        if count:
            what = f"{amount(count, 'row')} with a tombstone not erased yet"
            self._trouble("incomplete", f"{what}; erase the sample again")

    def _take(self, record: Record, checker: BatchChecker) -> None:
        state, self.number = self.state, record.seq
        attempt = state.attempt
        state.take(record)
        if self.first_at is None:
            self.first_at = record.at
        self._mark_arrays(record, checker.pack)
        if record.kind == "batch":
            body, layout = record.body, state.layouts[record.body["layout"]]
            rows = checker.check(record.seq, body, layout)
            stones = self.task.tombstones.get(record.seq)
            erased = _erasures(stones, rows) if stones else ()
            self.tally.take(body, layout, rows, attempt, erased)
            if self.task.observers:
                self._show(record, layout, rows, checker.pack)
        elif record.kind == "skipped":
            self.tally.take_skipped(record.body["skipped"])
        elif record.kind == "weights":
            checker.check_tensors(record.body)
            for observer in self.task.observers:
                observer.take_weights(self.name, record, state.segment)
        if state.seq in self.claimed:
            self._claims_at(state.seq)

    def _mark_arrays(self, record: Record, pack: PackReader) -> None:
        if self.marks is not None and record.kind in {"batch", "weights"}:
            self.marks.take_arrays(pack, record.body["pack"])

    def _show(
        self, record: Record, layout: Layout, rows: Sequence[bytes | None], pack: PackReader
    ) -> None:
        batch = ObservedBatch(
            stream=self.name,
            record=record,
            layout=layout,
            rows=rows,
            segment=self.state.segment,
            pack=pack,
        )
        for observer in self.task.observers:
            observer.take(batch)

    def _claims_at(self, size: int) -> None:
        for source, root in self.claimed.pop(size, ()):
            if root != self.root:
                raise BrokenRecord(f"{source} names another root over its first {size} records")
            if self.marks is not None:
                self.marks.held[size] = root.hex()

    def _torn(self, place: Place, *, last: bool) -> bool:
        if last and self._is_cut_off(place):
            count = self.number = self.state.seq
            left = f"{amount(place.length, 'byte')} of the next one left"
            what = f"cut off after {amount(count, 'record')}, {left}"
            self._trouble("torn", what, place)
        else:
            what = f"{place.length} bytes after the last record are no record"
            self._trouble("tampered", what, place)
        return False

    def _is_cut_off(self, place: Place) -> bool:
        """Say whether bytes at the end can be the beginning of a record, or zeros."""
        return is_cut_off(self.directory.read_tail(self.name, place.segment, place.offset))

    def _pack_ends(self, pack: PackReader, place: Place, *, last: bool) -> bool:
        state = self.state
        if last and (state.fresh_segment or not state.seq):
            self._trouble("torn", "the last segment holds no record yet", place)
            return False
        if state.fresh_segment:
            self._trouble("tampered", "a segment holds no record", place)
            return False
        if pack.size == state.pack:
            return True
        what = f"the pack has {pack.size} bytes, and records account for {state.pack}"
        torn = last and not state.ended and pack.size > state.pack
        self._trouble("torn" if torn else "tampered", what, place)
        return False

    def _complete(self) -> None:
        state = self.state
        if not state.ended:
            self._trouble("incomplete", f"no end after its {state.seq} records")
        elif state.status != "closed":
            self._trouble("incomplete", f"its end says {state.status!r:.60}")
        if state.counts.lost:
            what = f"{state.counts.lost} records could not be written, its writer says"
            self._trouble("incomplete", what)
        if not self.sampled:
            for line in self.tally.missing():
                self._trouble("incomplete", line)


def _erasures(stones: Mapping[int, Tombstone], rows: Sequence[bytes | None]) -> list[int]:
    """Number of the erasure of each row that was erased."""
    return [stones[position].erasure for position, row in enumerate(rows) if row is None]
