"""Follow a stream record by record: what the next one must be, given all before it.

    chain       seq counts up, prev names the record before
    order       begin first; after end only resume, repair or nothing; segments linked
    counts      checkpoints and end say what was counted, and the root of all before
    pack        every batch begins where the one before ended

One follower serves the writer that resumes a stream and the verifier, so that both mean the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fgmf.errors import BrokenRecord
from fgmf.mask_log.bodies import check_body
from fgmf.mask_log.places import FORMAT
from fgmf.mask_log.records import NO_RECORD
from fgmf.mask_log.rows import Layout
from fgmf.mask_log.tree import Frontier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fgmf.mask_log.records import Record
    from fgmf.types import Json


@dataclass(kw_only=True)
class Counts:
    """What a stream holds."""

    batches: int = 0
    samples: int = 0
    skipped: int = 0
    lost: int = 0


@dataclass(kw_only=True)
class StreamFollower:
    """A stream up to some record.

    Attributes:
        run: Name of the run.
        stream: Name of the stream.
        manifest: Digest of the manifest.
        every: Sampling that the manifest states.
        seq: Number of records so far, which is the number of the next one.
        prev: Leaf hash of the last record.
        tree: Over all records so far.
        segment: Number of the segment.
        pack: Bytes of the segment's pack that records account for.
        attempt: Number of times that the stream was taken up again.
        ended: Whether the last record that counts is an end.
        status: What the end says.
        at: When the last record was written; times never go back.
        layouts: Of the segment, by number.
        counts: What was counted.
        fresh_segment: Whether the next record must open a segment.
    """

    run: str
    stream: str
    manifest: str
    every: int = 1
    seq: int = 0
    prev: bytes = NO_RECORD
    tree: Frontier = field(default_factory=Frontier)
    segment: int = 0
    pack: int = 0
    attempt: int = 0
    ended: bool = False
    status: str = ""
    at: int = 0
    layouts: dict[int, Layout] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    fresh_segment: bool = False
    _takes: dict[str, Callable[[Mapping[str, Any]], None]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Prepare what kinds of records are taken by."""
        self._takes = {
            "batch": self._batch,
            "begin": self._begin,
            "checkpoint": self._checkpoint,
            "end": self._end,
            "layout": self._layout,
            "lost": self._lost,
            "repair": self._repair,
            "resume": self._resume,
            "segment": self._segment,
            "skipped": self._skipped,
            "weights": self._weights,
        }

    def take(self, record: Record) -> None:
        """Take the next record.

        Raises:
            BrokenRecord: It cannot follow.
        """
        if record.seq != self.seq:
            raise BrokenRecord(f"expected record {self.seq}, got record {record.seq}")
        if record.prev != self.prev:
            raise BrokenRecord("it does not follow on the record before it")
        if not record.usual:
            check_body(record.kind, record.body)
        self._check_order(record)
        special = self._takes.get(record.kind)
        if special is not None:
            special(record.body)
        self.tree.append(record.leaf)
        self.seq, self.prev, self.at = record.seq + 1, record.leaf, max(record.at, self.at)

    def as_document(self) -> dict[str, Json]:
        """Return where the stream stands, between two records, as JSON."""
        return {
            "at": self.at,
            "attempt": self.attempt,
            "counts": {name: int(count) for name, count in vars(self.counts).items()},
            "ended": self.ended,
            "layouts": [layout.as_document() for layout in self.layouts.values()],
            "pack": self.pack,
            "peaks": [peak.hex() for peak in self.tree.peaks],
            "prev": self.prev.hex(),
            "segment": self.segment,
            "seq": self.seq,
            "status": self.status,
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Stand where a stream stood.

        Args:
            document: What `as_document` returned.
        """
        for name in ("at", "attempt", "ended", "pack", "segment", "seq", "status"):
            setattr(self, name, document[name])
        self.counts = Counts(**document["counts"])
        self.prev = bytes.fromhex(document["prev"])
        self.tree = Frontier(self.seq, map(bytes.fromhex, document["peaks"]))
        self.layouts = dict(enumerate(map(Layout.from_document, document["layouts"])))

    def open_segment(self) -> None:
        """Say that a new file of records begins."""
        self.fresh_segment = True

    def _check_order(self, record: Record) -> None:
        kind = record.kind
        if (kind == "begin") != (self.seq == 0):
            raise BrokenRecord("expected a record of kind begin at the beginning, and only there")
        if (kind == "segment") != self.fresh_segment:
            raise BrokenRecord("expected a record of kind segment at the beginning of a segment")
        if self.ended and kind not in {"resume", "repair", "segment"}:
            raise BrokenRecord("expected nothing after the end but resume")

    def _begin(self, body: Mapping[str, Any]) -> None:
        expected = {
            "every": self.every,
            "format": FORMAT,
            "manifest": self.manifest,
            "run": self.run,
            "stream": self.stream,
        }
        for name, value in expected.items():
            if body[name] != value:
                what = "the manifest says otherwise" if name != "format" else f"expected {FORMAT}"
                raise BrokenRecord(f"member {name} of the first record: {what}")

    def _resume(self, body: Mapping[str, Any]) -> None:
        if body["attempt"] != self.attempt + 1:
            raise BrokenRecord(f"expected attempt {self.attempt + 1}, got {body['attempt']}")
        self.attempt += 1
        self.ended = False

    def _layout(self, body: Mapping[str, Any]) -> None:
        if body["id"] != len(self.layouts):
            raise BrokenRecord(f"expected layout {len(self.layouts)}, got {body['id']}")
        self.layouts[body["id"]] = Layout.from_document(body["layout"])

    def _batch(self, body: Mapping[str, Any]) -> None:
        layout = self.layouts.get(body["layout"])
        if layout is None or not body["count"]:
            raise BrokenRecord("expected a layout that was written before, and samples")
        start, rows_end, end = body["pack"]
        if start != self.pack or rows_end != start + body["count"] * layout.row_bytes:
            raise BrokenRecord("its rows do not begin and end where they should")
        if end < rows_end:
            raise BrokenRecord("its arrays end before they begin")
        self.pack = end
        self.counts.batches += 1
        self.counts.samples += body["count"]
        self._skipped(body)

    def _skipped(self, body: Mapping[str, Any]) -> None:
        self.counts.skipped += sum(body["skipped"].values())

    def _weights(self, body: Mapping[str, Any]) -> None:
        start, middle, end = body["pack"]
        if start != self.pack or not start == middle <= end:
            raise BrokenRecord("its tensors do not begin where they should")
        self.pack = end

    def _lost(self, body: Mapping[str, Any]) -> None:
        self.counts.lost += body["batches"]

    def _checkpoint(self, body: Mapping[str, Any]) -> None:
        self._check_tree(body["size"], body["root"])

    def _segment(self, body: Mapping[str, Any]) -> None:
        if body["segment"] != self.segment + 1 or body["size"] != self.seq:
            raise BrokenRecord("the segment does not follow on the one before it")
        if body["pack"] != self.pack or body["peaks"] != [p.hex() for p in self.tree.peaks]:
            raise BrokenRecord("the segment before it was longer, shorter or another one")
        self.segment, self.pack = body["segment"], 0
        self.layouts.clear()
        self.fresh_segment = False

    def _repair(self, body: Mapping[str, Any]) -> None:
        if body["pack"] != self.pack:
            raise BrokenRecord("a repair left the pack longer or shorter than it says")

    def _end(self, body: Mapping[str, Any]) -> None:
        self._check_tree(body["records"], body["root"])
        counted = vars(self.counts) | {"pack": self.pack}
        for name, value in counted.items():
            if body[name] != value:
                raise BrokenRecord(f"the end counts {body[name]} {name}, and there are {value}")
        self.ended, self.status = True, body["status"]

    def _check_tree(self, size: int, root: str) -> None:
        if size != self.seq or root != self.tree.root().hex():
            raise BrokenRecord("its size or root is not that of the records before it")
