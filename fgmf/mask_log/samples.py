"""Samples of a log, one by one: what people and queries look at. Only what holds is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fgmf.errors import BrokenRecord
from fgmf.mask_log.batches import BatchChecker
from fgmf.mask_log.erasures import read_tombstones
from fgmf.mask_log.manifest import read_manifest
from fgmf.mask_log.packs import stored_values
from fgmf.mask_log.places import RESERVED, open_log
from fgmf.mask_log.reading import PackReader
from fgmf.mask_log.resuming import read_stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fgmf.mask_log.manifest import Manifest
    from fgmf.mask_log.places import LogDirectory
    from fgmf.mask_log.records import Record
    from fgmf.mask_log.rows import Layout


@dataclass(frozen=True, kw_only=True)
class SampleFilter:
    """Which samples are looked at; None lets all through.

    Attributes:
        stream: Name of the stream.
        sample: Id of the sample.
        first_step: Lowest step.
        last_step: Highest step.
        purpose: Purpose of the pass.
    """

    stream: str | None = None
    sample: int | str | None = None
    first_step: int | None = None
    last_step: int | None = None
    purpose: str | None = None

    def takes_batch(self, body: Mapping[str, Any]) -> bool:
        """Say whether a batch may hold samples that are looked at."""
        step = body["step"]
        if self.purpose is not None and body["purpose"] != self.purpose:
            return False
        after = self.first_step is None or step >= self.first_step
        return after and (self.last_step is None or step <= self.last_step)


@dataclass(frozen=True, kw_only=True)
class LoggedSample:
    """One sample of one pass.

    Attributes:
        stream: Name of the stream.
        segment: Number of the segment.
        record: Number of the record.
        row: Its row in the batch.
        at: Milliseconds since 1970 (UTC).
        body: Of the record.
        layout: Of the row.
        sample: Its id; None where it was erased.
        input_digest: ``sha256:<hex>`` of its input; empty where it was erased.
        arrays: Values by name.
        prediction: What the model said; None where it was not logged.
    """

    stream: str
    segment: int
    record: int
    row: int
    at: int
    body: Mapping[str, Any]
    layout: Layout
    sample: int | str | None
    input_digest: str
    arrays: Mapping[str, bytes]
    prediction: int | None


def read_samples(path: Path, wanted: SampleFilter | None = None) -> Iterator[LoggedSample]:
    """Yield the samples of a log, in the order of its streams and records.

    Args:
        path: Directory of the log.
        wanted: Which.

    Raises:
        MaskLogUnreadable: There is no log.
        BrokenRecord: The log is broken at this place; what was yielded before holds.

    Cost: reads the records of the streams in question, and the arrays of what is wanted.
    """
    directory, wanted = open_log(path), wanted or SampleFilter()
    manifest = read_manifest(directory)
    tombstones = read_tombstones(directory)
    for stream in directory.stream_names():
        if stream not in RESERVED and wanted.stream in {None, stream}:
            reader = _StreamReader(directory, manifest, stream, tombstones.get(stream, {}))
            yield from reader.read(wanted)


class _StreamReader:
    """Reads one stream; a batch waits for the predictions that may follow it."""

    def __init__(
        self,
        directory: LogDirectory,
        manifest: Manifest,
        stream: str,
        tombstones: Any,  # noqa: ANN401 - by record and row
    ) -> None:
        self.directory, self.manifest, self.stream = directory, manifest, stream
        self.tombstones = tombstones

    def read(self, wanted: SampleFilter) -> Iterator[LoggedSample]:
        waiting: tuple[Record, int, Layout] | None = None
        for record, segment, layout in read_stream(self.directory, self.manifest, self.stream):
            classes: list[Any] = []
            if record.kind == "predictions" and waiting is not None:
                classes = record.body["classes"] if record.body["of"] == waiting[0].seq else []
            if waiting is not None:
                yield from self._samples(*waiting, classes, wanted)
                waiting = None
            if layout is not None and wanted.takes_batch(record.body):
                waiting = (record, segment, layout)
        if waiting is not None:
            yield from self._samples(*waiting, [], wanted)

    def _samples(
        self,
        record: Record,
        segment: int,
        layout: Layout,
        classes: list[Any],
        wanted: SampleFilter,
    ) -> Iterator[LoggedSample]:
        pack = PackReader(self.directory, self.stream, segment)
        try:
            checker = BatchChecker(pack=pack, tombstones=self.tombstones)
            rows = checker.check(record.seq, record.body, layout)
            for position, row in enumerate(rows):
                sample = None if row is None else layout.decode_id(row)
                if wanted.sample in {None, sample}:
                    yield LoggedSample(
                        stream=self.stream,
                        segment=segment,
                        record=record.seq,
                        row=position,
                        at=record.at,
                        body=record.body,
                        layout=layout,
                        sample=sample,
                        input_digest=""
                        if row is None
                        else f"sha256:{layout.input_digest(row).hex()}",
                        arrays={} if row is None else _arrays(layout, row, pack),
                        prediction=_prediction(classes, position),
                    )
        except BrokenRecord as error:
            place = f"stream {self.stream}, record {record.seq}"
            raise BrokenRecord(f"{place}: {error}; see fgmf log verify") from None
        finally:
            pack.close()


def _arrays(layout: Layout, row: bytes, pack: PackReader) -> dict[str, bytes]:
    return {
        form.name: stored_values(form, reference, pack.read(reference.offset, reference.length))
        for form, reference in zip(layout.arrays, layout.references(row), strict=True)
    }


def _prediction(classes: list[Any], position: int) -> int | None:
    value = classes[position] if position < len(classes) else None
    return value if type(value) is int else None
