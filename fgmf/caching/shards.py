"""Files of outcomes: each is written once, whole, and never changed.

    DIR/.gitignore                     keeps all of it out of git
    DIR/<run digest>/<digest>.npz      "record": canonical JSON, sealed;  "images": (m, ...)

A file is a NumPy archive without pickled objects. It may have been cut off, damaged, or written by
somebody else: everything is checked before it is used, and a file that is not as it should be is
left aside, with a notice. The seal tells damage from contents; it does not tell who wrote it.
"""

from __future__ import annotations

import io
import re
import zipfile
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fgmf.caching.conditions import CACHE_SCHEMA
from fgmf.canonical import canonical_json, json_digest, tensor_digest, write_atomically
from fgmf.errors import FgmfError, StaleEvidence
from fgmf.robustness.known import KnownOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from fgmf.types import Images

SIZE_LIMIT: Final = 512 * 2**20
"""Bytes that a cache may take; the oldest files go first."""
_LARGEST_FILE: Final = 1_000_000_000
_MEMBERS: Final = frozenset({"record.npy", "images.npy"})
_RUN: Final = re.compile(r"[0-9a-f]{64}")
_SHARD: Final = re.compile(r"[0-9a-f]{32}\.npz")
_UNFINISHED: Final = re.compile(r"\.[0-9a-f]{32}\.npz\.[0-9a-f]+")

Digits = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Number = Annotated[int, Field(ge=0, lt=2**31)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class _Outcome(_Part):
    name: Digits
    run: Number | None
    row: Number | None
    predicted: Number | None
    start: Number | None
    radii: tuple[tuple[Number, float | None], ...]


class _Record(_Part):
    version: Literal["fgmf-cache/1"] = Field(alias="schema")
    run: Digits
    images: str
    outcomes: tuple[_Outcome, ...]
    seal: str


def write_shard(directory: Path, run: str, outcomes: Mapping[str, KnownOutcome]) -> None:
    """Write outcomes to a file of their own.

    Args:
        directory: The cache; made where it is missing.
        run: Digest of the run's conditions.
        outcomes: By name; at least one.

    Raises:
        OSError: It cannot be written. What was there is untouched.
    """
    images: list[Images] = []
    documents = [_document(name, outcomes[name], images) for name in sorted(outcomes)]
    array = torch.stack(images).numpy() if images else np.zeros((0, 1), np.float32)
    record: dict[str, Any] = {
        "schema": CACHE_SCHEMA,
        "run": run,
        "images": tensor_digest(torch.from_numpy(array)),
        "outcomes": documents,
    }
    record["seal"] = json_digest(record)
    stream = io.BytesIO()
    text = np.frombuffer(canonical_json(record), dtype=np.uint8)
    np.savez(stream, record=text, images=array)
    name = record["seal"].removeprefix("sha256:")[:32]
    if not (directory / ".gitignore").exists():
        write_atomically(directory / ".gitignore", b"*\n")
    write_atomically(directory / run / f"{name}.npz", stream.getvalue())


def read_shards(
    directory: Path, run: str, *, like: Images, on_damage: Callable[[Path, str], None]
) -> dict[str, KnownOutcome]:
    """Read all that is known of a run.

    Args:
        directory: The cache.
        run: Digest of the run's conditions.
        like: (n, ...) images of the form that examples must have.
        on_damage: Told of each file that is left aside, and why.

    Returns:
        Outcomes by name. An image of which two files say different things is left out.
    """
    place = directory / run
    if place.is_symlink() or not place.is_dir():
        return {}
    known: dict[str, KnownOutcome] = {}
    doubtful: set[str] = set()
    for path in sorted(path for path in place.iterdir() if _SHARD.fullmatch(path.name)):
        try:
            found = _read(path, run, like)
        except (OSError, FgmfError) as error:
            on_damage(path, str(error))
            continue
        doubtful |= {n for n in found.keys() & known.keys() if found[n].run != known[n].run}
        known = found | known
    return {name: outcome for name, outcome in known.items() if name not in doubtful}


def evict(directory: Path, *, limit: int = SIZE_LIMIT) -> None:
    """Remove the oldest files until a cache is no larger than it may be.

    Args:
        directory: The cache. Nothing but its own files is looked at.
        limit: Bytes.

    Raises:
        OSError: It cannot be read or changed.
    """
    files = []
    for path in _own_files(directory):
        try:
            facts = path.lstat()
        except FileNotFoundError:  # another process was faster
            continue
        files.append((facts.st_mtime_ns, path, facts.st_size))
    total = sum(size for _, _, size in files)
    for _, path, size in sorted(files):
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= size
        if not any(path.parent.iterdir()):
            path.parent.rmdir()


def _own_files(directory: Path) -> Iterable[Path]:
    for place in directory.iterdir():
        if _RUN.fullmatch(place.name) and place.is_dir() and not place.is_symlink():
            for path in place.iterdir():
                if _SHARD.fullmatch(path.name) or _UNFINISHED.fullmatch(path.name):
                    yield path


def _document(name: str, outcome: KnownOutcome, images: list[Images]) -> dict[str, Any]:
    """Describe an outcome, and add its images to those that are written."""

    def row_of(image: Images | None) -> int | None:
        if image is None:
            return None
        images.append(image)
        return len(images) - 1

    radii = [[at, r if np.isfinite(r) else None] for at, r in sorted(outcome.radii.items())]
    return {
        "name": name,
        "run": outcome.run,
        "row": row_of(outcome.image),
        "predicted": outcome.predicted,
        "start": row_of(outcome.start),
        "radii": radii,
    }


def _read(path: Path, run: str, like: Images) -> dict[str, KnownOutcome]:
    """Read one file.

    Raises:
        StaleEvidence: It is not as `write_shard` made it.
        OSError: It cannot be read.
    """
    if path.is_symlink() or not path.is_file():
        raise StaleEvidence("expected a file of its own, got a link or something else")
    if path.stat().st_size > _LARGEST_FILE:
        raise StaleEvidence(f"expected less than {_LARGEST_FILE} bytes")
    text, images = _arrays(path.read_bytes())
    record = _record(text)
    if record.run != run:
        raise StaleEvidence("it belongs to another run")
    if tensor_digest(images) != record.images:
        raise StaleEvidence("its images are not those that were saved")
    rows = [row for part in record.outcomes for row in (part.row, part.start) if row is not None]
    if sorted(rows) != [*range(len(images))]:
        raise StaleEvidence("its images are not those of its outcomes")
    if len(images) and (images.shape[1:], images.dtype) != (like.shape[1:], like.dtype):
        raise StaleEvidence("its images have another form than those of the gate")
    return {outcome.name: _outcome(outcome, images) for outcome in record.outcomes}


def _arrays(contents: bytes) -> tuple[bytes, Images]:
    try:
        with zipfile.ZipFile(io.BytesIO(contents)) as archive:
            members = archive.infolist()
        if {m.filename for m in members} != _MEMBERS or len(members) != len(_MEMBERS):
            raise ValueError("holds other members than record and images")
        if sum(member.file_size for member in members) > _LARGEST_FILE:
            raise ValueError("unpacks to more than it could have been saved with")
        with np.load(io.BytesIO(contents), allow_pickle=False) as archive:
            text, images = archive["record"], archive["images"]
    except Exception as error:  # noqa: BLE001 - a damaged archive may raise anything
        raise StaleEvidence(f"it is no archive of plain arrays: {error}") from None
    if text.dtype != np.uint8 or text.ndim != 1 or images.dtype not in (np.float32, np.float64):
        raise StaleEvidence(f"it holds arrays of types {text.dtype} and {images.dtype}")
    return text.tobytes(), torch.from_numpy(np.ascontiguousarray(images))


def _record(text: bytes) -> _Record:
    try:
        record = _Record.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "its record"
        raise StaleEvidence(f"it is no {CACHE_SCHEMA}: {place}: {first['msg']}") from None
    document = record.model_dump(by_alias=True, mode="json")
    seal = document.pop("seal")
    if json_digest(document) != seal:
        raise StaleEvidence("its record was changed (seal differs)")
    names = [outcome.name for outcome in record.outcomes]
    parts = [(o.run is None, o.row is None, o.predicted is None) for o in record.outcomes]
    lost = any(o.row is None and o.start is not None for o in record.outcomes)
    if len(set(names)) != len(names) or any(len(set(part)) > 1 for part in parts) or lost:
        raise StaleEvidence("its outcomes contradict themselves")
    return record


def _outcome(part: _Outcome, images: Images) -> KnownOutcome:
    radii = {at: float("inf") if radius is None else radius for at, radius in part.radii}
    if part.row is None:
        return KnownOutcome(radii=radii)
    return KnownOutcome(
        run=part.run,
        image=images[part.row].clone(),
        predicted=part.predicted,
        start=None if part.start is None else images[part.start].clone(),
        radii=radii,
    )
