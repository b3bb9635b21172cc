"""Reading saved evidence.

It may come from another machine or another person: nothing in it is trusted before its digests,
shapes and types are checked, and nothing in it is ever executed.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fgmf.canonical import tensor_digest
from fgmf.errors import InvalidInput, StaleEvidence
from fgmf.failures import layout

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import torch

    from fgmf.threat import ThreatModel
    from fgmf.types import Images, Labels

_LARGEST_FILE = 1_000_000_000
_AGAIN = "run the gate again to save new evidence"


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedFailures:
    """Evidence that was read back and checked.

    Attributes:
        directory: Where it lies.
        version: Schema that it was written in.
        gate: Name of the gate that saved it.
        broken_count: How many images that gate broke, saved or not.
        images: (n, ...) clean images.
        adversarial: (n, ...) adversarial images.
        labels: (n,) true classes.
        predicted: (n,) classes that the model gave the adversarial images then.
        dataset_indices: n positions in the user's data set.
        attack_names: n names of attacks.
        keys: n digests of the clean images, by which their draws are named.
        starts: The image that attacks walked from, by row, for attacks that need one.
        threat: What the adversary was allowed.
        recipe: How the examples were made; see `save_failures`.
    """

    directory: Path
    version: str
    gate: str
    broken_count: int
    images: Images
    adversarial: Images
    labels: Labels
    predicted: Labels
    dataset_indices: tuple[int, ...]
    attack_names: tuple[str, ...]
    keys: tuple[str, ...]
    starts: Mapping[int, Images]
    threat: ThreatModel
    recipe: Mapping[str, Any]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class _ArraysRecord(_Part):
    file: Literal["examples.npz"]
    digest: str


class _ImageRecord(_Part):
    dataset_index: int
    label: int
    predicted: int
    attack: str
    image_digest: str
    adversarial_digest: str
    start_digest: str | None = None


class _Record(_Part):
    version: Literal["fgmf-failure/1", "fgmf-failure/2"] = Field(alias="schema")
    gate: str
    broken_count: int
    saved_count: int
    arrays: _ArraysRecord
    images: tuple[_ImageRecord, ...]
    recipe: dict[str, Any]
    digest: str


def load_failures(directory: Path) -> SavedFailures:
    """Read the evidence that `save_failures` wrote for one gate.

    Args:
        directory: The gate's directory, such as ``.fgmf/failures/robust-linf``.

    Returns:
        At least one example. Tensors on the CPU, with the types that they were saved with.

    Raises:
        InvalidInput: The directory is not evidence, or holds what this function refuses to
            open: links, pickled objects, arrays of wrong types.
        StaleEvidence: A file is missing, was changed, cut off, or has another schema.
    """
    if not directory.is_dir():
        message = (
            "expected a directory of saved failures, such as .fgmf/failures/<gate>, "
            f"got {directory}"
        )
        raise InvalidInput(message)
    record = _read_record(directory)
    contents = _contents(directory, layout.ARRAYS)
    if layout.bytes_digest(contents) != record.arrays.digest:
        _stale(directory, f"{layout.ARRAYS} is not the file that was saved (digest differs)")
    arrays = _read_arrays(directory, contents, _names_of(record))
    _check_arrays(directory, arrays, record)
    return _joined(directory, arrays, record)


def _read_record(directory: Path) -> _Record:
    contents = _contents(directory, layout.RECORD)
    try:
        record = _Record.model_validate_json(contents)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        _stale(directory, f"{layout.RECORD} is no {layout.FAILURE_SCHEMA}: {place}: {first['msg']}")
    sealed = record.model_dump(by_alias=True, mode="json", exclude_unset=True)
    if layout.record_digest(sealed) != record.digest:
        _stale(directory, f"{layout.RECORD} was changed (digest differs)")
    if not record.images or record.saved_count != len(record.images):
        message = f"{layout.RECORD} says {record.saved_count} examples, lists {len(record.images)}"
        _stale(directory, message)
    missing = [key for key in layout.RECIPE_KEYS if key not in record.recipe]
    if missing:
        _stale(directory, f"{layout.RECORD} has a recipe without {', '.join(missing)}")
    return record


def _contents(directory: Path, name: str) -> bytes:
    """Read a regular file of the directory, never through a link."""
    path = directory / name
    if path.is_symlink():
        message = f"expected {path} as a file of its own, got a link; copy the evidence as a whole"
        raise InvalidInput(message)
    if not path.is_file():
        if name == layout.RECORD:
            raise InvalidInput(f"expected saved failures in {directory}, got no {name}")
        _stale(directory, f"{name} is missing")
    if path.stat().st_size > _LARGEST_FILE:
        raise InvalidInput(f"expected {path} below {_LARGEST_FILE} bytes")
    return path.read_bytes()


def _names_of(record: _Record) -> set[str]:
    names = {*layout.IMAGE_ARRAYS, *layout.INDEX_ARRAYS}
    return names if record.version == layout.EXAMPLES_ONLY_SCHEMA else {*names, layout.START_ARRAY}


def _read_arrays(directory: Path, contents: bytes, arrays: set[str]) -> dict[str, np.ndarray]:
    import numpy as np

    names = {f"{name}.npy" for name in arrays}
    try:
        with zipfile.ZipFile(io.BytesIO(contents)) as archive:
            members = archive.infolist()
        if {member.filename for member in members} != names or len(members) != len(names):
            raise ValueError(f"holds {sorted(member.filename for member in members)}")
        if sum(member.file_size for member in members) > _LARGEST_FILE:
            raise ValueError("unpacks to more than it could have been saved with")
        with np.load(io.BytesIO(contents), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        message = (
            f"expected {directory / layout.ARRAYS} as a NumPy archive of plain arrays, without "
            f"pickled objects; it {error}"
        )
        raise InvalidInput(message) from None


def _check_arrays(directory: Path, arrays: Mapping[str, np.ndarray], record: _Record) -> None:
    clean, adversarial = (arrays[name] for name in layout.IMAGE_ARRAYS)
    alike = clean.shape == adversarial.shape and clean.dtype == adversarial.dtype
    if not alike or clean.dtype.kind != "f" or clean.ndim < 2 or len(clean) != len(record.images):
        message = (
            f"expected {len(record.images)} images and adversarial images of one shape and one "
            f"floating-point type in {directory / layout.ARRAYS}, got {clean.shape} "
            f"{clean.dtype} and {adversarial.shape} {adversarial.dtype}"
        )
        raise InvalidInput(message)
    starts = arrays.get(layout.START_ARRAY, clean[:0])
    if starts.shape[1:] != clean.shape[1:] or starts.dtype != clean.dtype:
        message = (
            f"expected starts of shape (m, {', '.join(map(str, clean.shape[1:]))}) and type "
            f"{clean.dtype} in {directory / layout.ARRAYS}, got {starts.shape} {starts.dtype}"
        )
        raise InvalidInput(message)
    for name, key in (
        ("labels", "label"),
        ("predicted", "predicted"),
        ("dataset_indices", "dataset_index"),
    ):
        listed = [getattr(entry, key) for entry in record.images]
        if arrays[name].dtype.kind != "i" or arrays[name].tolist() != listed:
            _stale(directory, f"{name} in {layout.ARRAYS} are not those of {layout.RECORD}")


def _joined(directory: Path, arrays: Mapping[str, np.ndarray], record: _Record) -> SavedFailures:
    import torch

    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    for name, key in (("images", "image_digest"), ("adversarial", "adversarial_digest")):
        _check_digests(directory, tensors[name], [getattr(entry, key) for entry in record.images])
    return SavedFailures(
        directory=directory,
        version=record.version,
        gate=record.gate,
        broken_count=record.broken_count,
        images=tensors["images"],
        adversarial=tensors["adversarial"],
        labels=tensors["labels"],
        predicted=tensors["predicted"],
        dataset_indices=tuple(entry.dataset_index for entry in record.images),
        attack_names=tuple(entry.attack for entry in record.images),
        keys=tuple(entry.image_digest for entry in record.images),
        starts=_starts(directory, tensors, record),
        threat=layout.threat_of(record.recipe),
        recipe=record.recipe,
    )


def _starts(
    directory: Path, tensors: Mapping[str, torch.Tensor], record: _Record
) -> dict[int, torch.Tensor]:
    """Find each row's start by the digest of its content."""
    named = {tensor_digest(start): start for start in tensors.get(layout.START_ARRAY, ())}
    wanted = {row: entry.start_digest for row, entry in enumerate(record.images)}
    if {digest for digest in wanted.values() if digest is not None} != named.keys():
        _stale(directory, f"the starts in {layout.ARRAYS} are not those of {layout.RECORD}")
    return {row: named[digest] for row, digest in wanted.items() if digest is not None}


def _check_digests(directory: Path, images: torch.Tensor, digests: list[str]) -> None:
    for row, digest in enumerate(digests):
        if tensor_digest(images[row]) != digest:
            _stale(directory, f"image {row} in {layout.ARRAYS} is not the one that was saved")


def _stale(directory: Path, what: str) -> NoReturn:
    raise StaleEvidence(f"expected evidence in {directory} as it was saved; {what}; {_AGAIN}")
