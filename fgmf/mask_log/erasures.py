"""Tombstones: what is left of samples that were erased, in a stream of their own.

Every erasure takes the stream up anew, and is of one sample: tombstones of one attempt belong
together. One that was cut off and finished later names rows again: both are one erasure.
"""

from __future__ import annotations

from dataclasses import replace
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
    erasure, same = 0, dict[int, int]()
    try:
        for segment in directory.segments(ERASURES):
            for record, _ in read_segment(directory, ERASURES, segment):
                if record.kind == "resume":
                    erasure += 1
                elif record.kind == "erasure":
                    check_body(record.kind, record.body)
                    body = record.body
                    rows = found.setdefault(body["stream"], {}).setdefault(body["seq"], {})
                    if body["row"] in rows:
                        ends = {_first(same, erasure), _first(same, rows[body["row"]].erasure)}
                        same[max(ends)] = min(ends)
                    rows[body["row"]] = _tombstone(body, erasure)
    except TornTail:
        pass
    except MisplacedRecord as error:
        raise BrokenRecord(str(error)) from None
    _join(found, same)
    return found


def _join(found: dict[str, dict[int, dict[int, Tombstone]]], same: Mapping[int, int]) -> None:
    """Give all tombstones of erasures that belong together one number."""
    for records in found.values() if same else ():
        for rows in records.values():
            for position, stone in rows.items():
                rows[position] = replace(stone, erasure=_first(same, stone.erasure))


def _first(same: Mapping[int, int], erasure: int) -> int:
    """Return the first of the erasures that one belongs to."""
    while same.get(erasure, erasure) != erasure:
        erasure = same[erasure]
    return erasure


def _tombstone(body: Mapping[str, Any], erasure: int) -> Tombstone:
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
        erasure=erasure,
    )
