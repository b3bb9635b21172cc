"""Provenance beside a file, for formats that keep no metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.classifier.onnx_backend import file_digest
from fgmf.export.provenance import LONGEST, Provenance

if TYPE_CHECKING:
    from pathlib import Path


def sidecar_path(path: Path) -> Path:
    """Return where the provenance of a file lies: beside it."""
    return path.with_name(f"{path.name}.provenance.json")


def read_sidecar(path: Path) -> Provenance | None:
    """Read the provenance beside a file; None where there is none.

    Raises:
        StaleEvidence: What lies there is no provenance.
        OSError: It cannot be read.
    """
    place = sidecar_path(path)
    if not place.is_file():
        return None
    with place.open("rb") as stream:
        return Provenance.from_text(stream.read(LONGEST + 1).decode(errors="replace"))


def sidecar_troubles(path: Path, provenance: Provenance) -> list[str]:
    """Say what of a file is not what the provenance beside it says."""
    now = file_digest(path)
    if provenance.graph == now and provenance.parts.get("file") == now:
        return []
    return [f"the file's bytes ({now:.23}…) are not those that its provenance names"]
