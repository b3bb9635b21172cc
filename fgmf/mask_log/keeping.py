"""Heads that a log keeps of itself, one whenever a writer closes: copies belong elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.canonical import write_atomically
from fgmf.mask_log.anchoring import head_name
from fgmf.mask_log.heads import LONGEST_TEXT, Head, StreamHead, read_checkpoint, read_head
from fgmf.mask_log.places import read_inside

if TYPE_CHECKING:
    from fgmf.mask_log.manifest import Manifest
    from fgmf.mask_log.places import LogDirectory
    from fgmf.mask_log.signing import Signer


def current_head(directory: LogDirectory, manifest: Manifest) -> Head:
    """Return the head over the latest checkpoints of all streams.

    Streams that have none yet are not in it. A stream that is being written is in it as far as it
    was at its last checkpoint.

    Raises:
        BrokenRecord: A checkpoint is none.
        MaskLogUnreadable: One cannot be read.
    """
    streams: list[StreamHead] = []
    for name in directory.stream_names():
        path = directory.checkpoint(name)
        if path.exists():
            text = read_inside(directory.path, path, limit=LONGEST_TEXT).decode(errors="replace")
            streams.append(read_checkpoint(text, run=manifest.run, stream=name))
    return Head(run=manifest.run, manifest=manifest.digest, streams=tuple(streams))


def keep_head(directory: LogDirectory, manifest: Manifest, *, signer: Signer | None = None) -> Head:
    """Write the current head into the log.

    Args:
        directory: The log.
        manifest: Its manifest.
        signer: Signs the head; None leaves it unsigned.

    Returns:
        The head; its digest is the line to keep elsewhere.

    Raises:
        BrokenRecord: A checkpoint is none.
        OSError: The directory cannot be written.
    """
    head = current_head(directory, manifest)
    path = directory.heads / head_name(head)
    text, lines = head.text(), list[str]()
    if path.exists():
        known = read_inside(directory.path, path, limit=LONGEST_TEXT).decode(errors="replace")
        lines += read_head(known)[1]
    if signer is not None and signer.line(text) not in lines:
        lines.append(signer.line(text))
    signed = text + ("\n" + "".join(f"{line}\n" for line in lines) if lines else "")
    write_atomically(path, signed.encode())
    return head
