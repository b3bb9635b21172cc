"""Tombstones: what is left of samples that were erased, in a stream of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fgmf.errors import BrokenRecord
from fgmf.mask_log.batches import Tombstone
from fgmf.mask_log.bodies import check_body, is_count
from fgmf.mask_log.places import ERASURES
from fgmf.mask_log.reading import MisplacedRecord, TornTail, read_segment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgmf.mask_log.places import LogDirectory


def read_tombstones(directory: LogDirectory) -> dict[str, dict[int, dict[int, Tombstone]]]:
    """Read all tombstones of a log, by stream, record and row.

    A torn tail ends the reading: a tombstone that is torn was never written.

    Raises:
        BrokenRecord: The stream of tombstones is broken.
    """
    found: dict[str, dict[int, dict[int, Tombstone]]] = {}
    try:
        for segment in directory.segments(ERASURES):
            for record, _ in read_segment(directory, ERASURES, segment):
                if record.kind == "erasure":
                    check_body(record.kind, record.body)
                    body = record.body
                    rows = found.setdefault(body["stream"], {}).setdefault(body["seq"], {})
                    rows[body["row"]] = _tombstone(body)
    except TornTail:
        pass
    except MisplacedRecord as error:
        raise BrokenRecord(str(error)) from None
    return found


def _tombstone(body: Mapping[str, Any]) -> Tombstone:
    spans = body["pack"]
    sound = all(
        type(span) is list and len(span) == 3 and all(map(is_count, span)) and span[2] in {0, 1}
        for span in spans
    )
    if not sound:
        raise BrokenRecord("expected spans of a pack in a tombstone")
    return Tombstone(
        leaf=bytes.fromhex(body["leaf"]),
        spans=tuple((offset, length, bool(gone)) for offset, length, gone in spans),
    )
