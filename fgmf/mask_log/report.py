"""What a look at a log found: values only; judging is the gate's, wording the report's.

Outcomes, the worst first:

    tampered     something is not what its digest, its chain, its counts, a root or a head says
    incomplete   sound as far as it goes, but records that the manifest asks for are not there
    torn         a writer was cut off in the middle of a record; `fgmf log repair` cuts it there
    sampled      sound, and a part of the passes only, as the manifest says
    intact       sound, and the manifest fixes nothing that completeness could be about
    complete     sound, and everything that the manifest asks for is there
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from fgmf.mask_log.heads import Head
    from fgmf.types import Json


class LogOutcome(StrEnum):
    """How a log stands."""

    TAMPERED = "tampered"
    INCOMPLETE = "incomplete"
    TORN = "torn"
    SAMPLED = "sampled"
    INTACT = "intact"
    COMPLETE = "complete"


def amount(count: int, noun: str) -> str:
    """Write a number of things: ``1 row``, ``2 rows``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


TroubleKind = Literal["tampered", "incomplete", "torn"]
Anchor = Literal["head", "earlier head", "signature", "earlier signature", "none"]


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """One thing that is wrong, and where.

    Attributes:
        kind: What it means.
        what: What is wrong, in one line.
        stream: Name of the stream; empty where it is about the whole log.
        segment: Number of the segment's file; None where it is about no place.
        line: Line of that file, from 1.
        offset: First byte of that line.
        record: Number of the record in its stream.
    """

    kind: TroubleKind
    what: str
    stream: str = ""
    segment: int | None = None
    line: int | None = None
    offset: int | None = None
    record: int | None = None

    def __str__(self) -> str:
        """One line that stands alone."""
        parts = [f"stream {self.stream}"] if self.stream else []
        if self.segment is not None:
            parts.append(f"{self.segment:06d}.jsonl line {self.line} (byte {self.offset})")
        if self.record is not None:
            parts.append(f"record {self.record}")
        where = ", ".join(parts)
        return f"{where}: {self.what}" if where else self.what

    def as_document(self) -> dict[str, Json]:
        """Return it as JSON; what is unknown is left out."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: value for name, value in values.items() if value not in {None, ""}}


@dataclass(frozen=True, kw_only=True)
class StreamReport:
    """What one stream holds.

    Attributes:
        stream: Its name.
        records: Records that hold.
        batches: Batches among them.
        samples: Samples of these.
        skipped: Forward passes that the writer says it did not log, as the manifest allows.
        lost: Records that the writer says it could not write.
        erased: Samples whose rows were erased, with a tombstone.
        attempts: How often the stream was taken up again.
        ended: Whether it has an end.
        first_at: When its first record was written, in milliseconds since 1970 (UTC).
        last_at: When its last record was written.
    """

    stream: str
    records: int
    batches: int
    samples: int
    skipped: int
    lost: int
    erased: int
    attempts: int
    ended: bool
    first_at: int | None
    last_at: int | None

    def as_document(self) -> dict[str, Json]:
        """Return it as JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, kw_only=True)
class Resumption:
    """How a verification with a state began.

    Attributes:
        records: Verified before, and shown to be the same bytes now; they were not verified again.
        started_over: Why the state that was there could not be gone on from; empty where it could,
            or where there was none.
    """

    records: int = 0
    started_over: str = ""

    def as_document(self) -> dict[str, Json]:
        """Return it as JSON."""
        return {"records": self.records, "started_over": self.started_over}


@dataclass(frozen=True, kw_only=True)
class LogReport:
    """What a look at a whole log found.

    Attributes:
        run: Name of the run; empty where the manifest cannot be read.
        head: What the log is now; None where it is tampered with.
        streams: By name.
        troubles: Everything that is wrong, the worst first.
        anchor: What from outside the log stands behind it.
        anchored_records: Records that it covers.
        anchored_head: The head that it is; None where there is none.
        sampled: Whether the manifest asks for a part of the passes only.
        open_ended: Streams that the manifest fixes nothing about.
        signer: Name of the key that signed, where one was asked for.
        missing_streams: Streams that the manifest names and that have no record.
        resumption: How the verification began, where its state is kept.
    """

    run: str
    head: Head | None
    streams: tuple[StreamReport, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    anchor: Anchor = "none"
    anchored_records: int = 0
    anchored_head: Head | None = None
    sampled: bool = False
    open_ended: tuple[str, ...] = ()
    signer: str = ""
    missing_streams: tuple[str, ...] = ()
    resumption: Resumption | None = None

    @property
    def outcome(self) -> LogOutcome:
        """How the log stands."""
        kinds = {trouble.kind for trouble in self.troubles}
        for kind in (LogOutcome.TAMPERED, LogOutcome.INCOMPLETE, LogOutcome.TORN):
            if kind in kinds:
                return kind
        if self.sampled:
            return LogOutcome.SAMPLED
        return LogOutcome.INTACT if self.open_ended or not self.streams else LogOutcome.COMPLETE

    @property
    def records(self) -> int:
        """Records of all streams."""
        return sum(stream.records for stream in self.streams)

    @property
    def samples(self) -> int:
        """Samples of all streams."""
        return sum(stream.samples for stream in self.streams)

    @property
    def erased(self) -> int:
        """Erased samples of all streams."""
        return sum(stream.erased for stream in self.streams)
