"""Exported files, named in the log of the run that made the model.

    log_export(path, {"provenance": "sha256:...", ...})      a note in the stream `exports`
    head = ...                                               keep it elsewhere: it covers the note
    logged_exports(path, size=...)                           what a verified log names

The stream is the log's own, like that of erasures: no manifest names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fgmf.mask_log.keeping import keep_head
from fgmf.mask_log.manifest import read_manifest
from fgmf.mask_log.places import EXPORTS, open_log
from fgmf.mask_log.reading import read_segment
from fgmf.mask_log.settings import WriterSettings
from fgmf.mask_log.writing import StreamWriter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fgmf.mask_log.heads import Head
    from fgmf.mask_log.signing import Signer
    from fgmf.types import Json

_MEMBER: Final = "export"


@dataclass(frozen=True, kw_only=True)
class LoggedExport:
    """One export that a log names.

    Attributes:
        number: Of the record in its stream.
        facts: What was said of the file.
    """

    number: int
    facts: Mapping[str, Any]


def log_export(path: Path, facts: Mapping[str, Json], *, signer: Signer | None = None) -> Head:
    """Name an exported file in a log.

    Args:
        path: Directory of the log, no stream of which is called ``exports`` by others.
        facts: Digests of the file.
        signer: Signs the new head.

    Returns:
        The head that covers the record: the one to keep from now on.

    Raises:
        MaskLogUnreadable: There is no log.
        InvalidInput: Somebody writes the stream, or the facts are not JSON.
        MaskLogUnwritable: The directory cannot be written.
    """
    directory = open_log(path)
    manifest = read_manifest(directory)
    writer = StreamWriter(
        directory,
        EXPORTS,
        manifest,
        settings=WriterSettings(durability="record"),
        resume=EXPORTS in directory.stream_names() and bool(directory.segments(EXPORTS)),
    )
    try:
        writer.append("note", {"note": {_MEMBER: dict(facts)}})
    finally:
        writer.close()
    return keep_head(directory, manifest, signer=signer)


def logged_exports(path: Path, *, size: int) -> list[LoggedExport]:
    """Return the exports that a verified log names.

    Args:
        path: Directory of the log.
        size: First records of the stream ``exports`` that are looked at: those that the head from
            outside covers. What comes after could be anybody's.

    Raises:
        BrokenRecord: A record is none.
        MaskLogUnreadable: There is no log.
    """
    directory = open_log(path)
    if EXPORTS not in directory.stream_names():
        return []
    found = []
    for segment in directory.segments(EXPORTS):
        for record, _ in read_segment(directory, EXPORTS, segment):
            facts = record.body["note"].get(_MEMBER) if record.kind == "note" else None
            if record.seq < size and isinstance(facts, dict):
                found.append(LoggedExport(number=record.seq, facts=facts))
    return found
