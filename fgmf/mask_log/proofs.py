"""Make proofs about a log, to be checked by someone who has a head and not the log.

An inclusion shows one sample: its row, the path to its batch's root, the record, the path to the
stream's root. A consistency shows one head to be a beginning of another. `proof_check` checks them.

Cost: reads all records of the streams in question, and keeps 32 bytes of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fgmf.errors import BrokenRecord, InvalidInput
from fgmf.mask_log.anchoring import read_claims
from fgmf.mask_log.erasures import read_tombstones
from fgmf.mask_log.manifest import read_manifest
from fgmf.mask_log.places import open_log
from fgmf.mask_log.reading import PackReader
from fgmf.mask_log.records import encode_canonical
from fgmf.mask_log.resuming import read_stream
from fgmf.mask_log.tree import consistency_path, inclusion_path, leaf_hash, root_of

if TYPE_CHECKING:
    from pathlib import Path

    from fgmf.mask_log.heads import Head
    from fgmf.mask_log.manifest import Manifest
    from fgmf.mask_log.places import LogDirectory
    from fgmf.mask_log.records import Record
    from fgmf.mask_log.rows import Layout
    from fgmf.types import Json


def prove_inclusion(
    path: Path, *, head: str, sample: int | str, stream: str | None = None
) -> dict[str, Json]:
    """Prove that a sample was logged.

    Args:
        path: Directory of the log.
        head: Digest of the head that the proof is for.
        sample: Its id.
        stream: Where to look; None looks in all, and takes the first record.

    Returns:
        The proof, as JSON.

    Raises:
        InvalidInput: No such head, or no such sample below it.
        BrokenRecord: The log is broken; see `fgmf log verify`.
    """
    directory, manifest, found_head = _opened(path, head)
    for entry in found_head.streams:
        if stream in {None, entry.stream}:
            leaves: list[bytes] = []
            found = None
            for record, segment, layout in read_stream(directory, manifest, entry.stream):
                if len(leaves) < entry.size:
                    leaves.append(record.leaf)
                    if found is None and layout is not None:
                        found = _row_of(directory, entry.stream, record, segment, layout, sample)
            if found is not None and len(leaves) == entry.size:
                return {**found, **_framed(found_head, entry.stream, leaves, found["seq"])}
    raise InvalidInput(f"expected a sample of the log below that head, got {sample!r:.80}")


def prove_consistency(path: Path, *, old: str, new: str) -> dict[str, Json]:
    """Prove that the log of one head is a beginning of the log of another.

    Args:
        path: Directory of the log.
        old: Digest of the earlier head.
        new: Digest of the later head.

    Returns:
        The proof, as JSON.

    Raises:
        InvalidInput: No such heads, or the second is not the later one.
        BrokenRecord: The log is broken.
    """
    directory, manifest, before = _opened(path, old)
    after = _opened(path, new)[2]
    later = {entry.stream: entry for entry in after.streams}
    paths: dict[str, Json] = {}
    for entry in before.streams:
        end = later.get(entry.stream)
        if end is None or end.size < entry.size:
            raise InvalidInput(f"expected the later head second, got stream {entry.stream} shorter")
        leaves = [r.leaf for r, _, _ in read_stream(directory, manifest, entry.stream)][: end.size]
        if root_of(leaves) != end.root or root_of(leaves[: entry.size]) != entry.root:
            raise BrokenRecord(f"stream {entry.stream} is not what the heads say")
        paths[entry.stream] = [h.hex() for h in consistency_path(leaves, entry.size)]
    return {
        "proof": "consistency",
        "old_head": before.text(),
        "new_head": after.text(),
        "paths": paths,
    }


def _opened(path: Path, digest: str) -> tuple[LogDirectory, Manifest, Head]:
    directory = open_log(path)
    manifest = read_manifest(directory)
    known = read_claims(directory, manifest).heads
    if digest not in known:
        raise InvalidInput(f"expected the digest of one of the log's {len(known)} heads")
    return directory, manifest, known[digest][0]


def _row_of(
    directory: LogDirectory,
    stream: str,
    record: Record,
    segment: int,
    layout: Layout,
    sample: int | str,
) -> dict[str, Any] | None:
    if (type(sample) is int) == bool(layout.id_bytes):
        return None
    body = record.body
    wanted = layout.encode_ids([sample])[0] if _fits(layout, sample) else None
    pack = PackReader(directory, stream, segment)
    try:
        start, end, _ = body["pack"]
        data = pack.read(start, end - start)
    finally:
        pack.close()
    width = layout.row_bytes
    rows = [data[at : at + width] for at in range(0, len(data), width)]
    for position, row in enumerate(rows):
        if row[16 : 16 + layout.id_width] == wanted:
            leaves = [leaf_hash(entry) for entry in rows]
            stones = read_tombstones(directory).get(stream, {}).get(record.seq, {})
            for erased, stone in stones.items():
                leaves[erased] = stone.leaf
            if root_of(leaves).hex() != body["root"]:
                raise BrokenRecord(f"record {record.seq} of stream {stream} has other rows")
            return {
                "seq": record.seq,
                "record": _core(record).decode(),
                "row": row.hex(),
                "position": position,
                "row_path": [h.hex() for h in inclusion_path(leaves, position)],
                "layout": layout.as_document(),
            }
    return None


def _fits(layout: Layout, sample: int | str) -> bool:
    return not isinstance(sample, str) or 0 < len(sample.encode()) <= layout.id_bytes


def _framed(head: Head, stream: str, leaves: list[bytes], seq: int) -> dict[str, Json]:
    expected = next(entry.root for entry in head.streams if entry.stream == stream)
    if root_of(leaves) != expected:
        raise BrokenRecord(f"stream {stream} is not what the head says")
    return {
        "proof": "inclusion",
        "head": head.text(),
        "stream": stream,
        "record_path": [h.hex() for h in inclusion_path(leaves, seq)],
    }


def _core(record: Record) -> bytes:
    return encode_canonical(
        {
            "at": record.at,
            "body": record.body,
            "kind": record.kind,
            "prev": record.prev.hex(),
            "seq": record.seq,
        }
    )
