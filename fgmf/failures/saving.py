"""Writing the evidence of a failed gate: a picture, the arrays, and how to run them again.

kept    = evenly spaced choice of the broken images, as many as the size limit allows
written = picture, arrays and record in a new directory beside the old one
the new directory takes the place of the old one, as a whole
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgmf.canonical import tensor_digest, write_atomically
from fgmf.errors import InvalidInput
from fgmf.failures import layout
from fgmf.failures.picture import PictureEntry, draw_picture, evenly_spaced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from fgmf.types import Json

SIZE_LIMIT = 20_000_000
"""Bytes that the evidence of one gate may take."""
IMAGE_LIMIT = 64
_ARRAYS_SHARE = 0.75
_RECORD_BYTES = 1_000
"""Allowance for what the record says of one image."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Broken:
    """The broken images as arrays: n entries each."""

    images: np.ndarray
    adversarial: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    dataset_indices: np.ndarray
    attack_names: tuple[str, ...]
    starts: tuple[np.ndarray | None, ...]

    def __len__(self) -> int:
        return len(self.images)

    def some(self, positions: Sequence[int]) -> _Broken:
        rows = list(positions)
        return _Broken(
            images=self.images[rows],
            adversarial=self.adversarial[rows],
            labels=self.labels[rows],
            predicted=self.predicted[rows],
            dataset_indices=self.dataset_indices[rows],
            attack_names=tuple(self.attack_names[row] for row in rows),
            starts=tuple(self.starts[row] for row in rows),
        )


def save_failures(  # noqa: PLR0913 - keyword-only, one array per name
    directory: Path,
    *,
    gate: str,
    images: object,
    adversarial: object,
    labels: object,
    predicted: object,
    dataset_indices: object,
    attack_names: Sequence[str],
    recipe: Mapping[str, Json],
    starts: Sequence[object] | None = None,
    broken_count: int | None = None,
    size_limit: int = SIZE_LIMIT,
    image_limit: int = IMAGE_LIMIT,
) -> tuple[Path, ...]:
    """Write the broken images of a gate, in place of its earlier evidence.

    Args:
        directory: Directory of all failures, such as ``.fgmf/failures``. Each gate has its own
            directory inside it. A directory ``.fgmf`` gets a ``.gitignore``.
        gate: Name of the gate; any text.
        images: (n, ...) clean images, tensor or array, floating point.
        adversarial: (n, ...) adversarial images, same shape and type.
        labels: (n,) true classes.
        predicted: (n,) classes that the model gives the adversarial images.
        dataset_indices: (n,) positions in the user's data set.
        attack_names: Which attack broke each image, n names.
        recipe: How the examples were made: `specification` (with `criterion` and `top_k` where
            they are not the default), `gate_seed`, `model_digest`, `data_digest`, `threat`
            (`norm`, `epsilon`, `bounds`), `library_versions`, `command`. Where the attack is to
            be repeated also `repeat` and `circumstances`; with `gate_file`, a replay finds the
            model by itself.
        starts: The image that attacks walked from, for each image; None where none did.
        broken_count: Images that the gate broke, where it hands in only some; None takes n.
        size_limit: Most bytes that are written.
        image_limit: Most images that are kept.

    Returns:
        The written files: picture (left out where it would not fit), arrays, record. Empty if
        nothing broke, or if not even one image fits; earlier evidence is gone then, too.

    Raises:
        InvalidInput: Lengths or shapes differ, a key of the recipe is missing, or the gate's
            directory holds files that are not evidence.
        OSError: The directory cannot be written.
    """
    missing = [key for key in layout.RECIPE_KEYS if key not in recipe]
    if missing:
        raise InvalidInput(f"expected a recipe with {', '.join(missing)}, got {sorted(recipe)}")
    broken = _Broken(
        images=_array(images),
        adversarial=_array(adversarial),
        labels=_array(labels).astype("int64"),
        predicted=_array(predicted).astype("int64"),
        dataset_indices=_array(dataset_indices).astype("int64"),
        attack_names=tuple(attack_names),
        starts=_starts(starts, len(attack_names)),
    )
    positions = _kept(broken, size_limit, image_limit)
    if not positions:
        discard_failures(directory, gate=gate)
        return ()
    total = len(broken) if broken_count is None else broken_count
    files = _files(broken.some(positions), gate, recipe, broken_count=total)
    if sum(map(len, files.values())) > size_limit:
        del files[layout.PICTURE]
    return _write(directory, gate, files)


def discard_failures(directory: Path, *, gate: str) -> None:
    """Remove the evidence of a gate, if there is any.

    Raises:
        InvalidInput: The gate's directory holds files that are not evidence; nothing is removed.
    """
    target = directory / layout.directory_name(gate)
    if target.is_symlink() or target.is_file():
        target.unlink()
    elif target.is_dir():
        foreign = sorted(entry.name for entry in target.iterdir() if entry.name not in layout.FILES)
        if foreign:
            message = (
                f"expected nothing but saved evidence in {target}, got {', '.join(foreign[:5])}; "
                "move these files or choose another directory for failures"
            )
            raise InvalidInput(message)
        shutil.rmtree(target)


def _array(values: object) -> np.ndarray:
    import numpy as np
    import torch

    if isinstance(values, torch.Tensor):
        tensor = values.detach().cpu()
        return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()
    return np.asarray(values)


def _starts(starts: Sequence[object] | None, count: int) -> tuple[np.ndarray | None, ...]:
    given = [None] * count if starts is None else starts
    return tuple(None if start is None else _array(start) for start in given)


def _check(broken: _Broken) -> None:
    """Compare shapes and types.

    Raises:
        InvalidInput: They do not belong together.
    """
    clean, adversarial = broken.images, broken.adversarial
    alike = clean.shape == adversarial.shape and clean.dtype == adversarial.dtype
    if not alike or clean.ndim < 2 or clean.dtype.kind != "f":
        message = (
            "expected images and adversarial of one shape (n, ...) and one floating-point type, "
            f"got {clean.shape} {clean.dtype} and {adversarial.shape} {adversarial.dtype}"
        )
        raise InvalidInput(message)
    for name in ("labels", "predicted", "dataset_indices"):
        shape = getattr(broken, name).shape
        if shape != (len(broken),):
            raise InvalidInput(f"expected {name} of shape ({len(broken)},), got {shape}")
    if len(broken.attack_names) != len(broken):
        got = len(broken.attack_names)
        raise InvalidInput(f"expected {len(broken)} attack names, one per image, got {got}")
    given = [start for start in broken.starts if start is not None]
    fit = all(s.shape == clean.shape[1:] and s.dtype == clean.dtype for s in given)
    if len(broken.starts) != len(broken) or not fit:
        shapes = sorted({f"{start.shape} {start.dtype}" for start in given})
        message = (
            f"expected one start or None for each of {len(broken)} images, of shape "
            f"{clean.shape[1:]} and type {clean.dtype}, got {len(broken.starts)}: {shapes}"
        )
        raise InvalidInput(message)


def _kept(broken: _Broken, size_limit: int, image_limit: int) -> list[int]:
    """Choose what is kept: evenly spaced over the data set, whatever order attacks took.

    Raises:
        InvalidInput: The arrays do not belong together.
    """
    if not len(broken):
        return []
    _check(broken)
    arrays = 2 if all(start is None for start in broken.starts) else 3
    per_image = arrays * broken.images[0].nbytes + 3 * 8 + _RECORD_BYTES
    room = int(size_limit * _ARRAYS_SHARE) // per_image
    order = sorted(range(len(broken)), key=lambda row: int(broken.dataset_indices[row]))
    most = min(room, image_limit)
    return [order[at] for at in evenly_spaced(len(broken), most)] if most > 0 else []


def _files(
    kept: _Broken, gate: str, recipe: Mapping[str, Json], *, broken_count: int
) -> dict[str, bytes]:
    import numpy as np

    stream = io.BytesIO()
    names = (*layout.IMAGE_ARRAYS, *layout.INDEX_ARRAYS)
    starts = _unique_starts(kept)
    start_array = np.stack(list(starts.values())) if starts else kept.images[:0]
    contents = {name: getattr(kept, name) for name in names} | {layout.START_ARRAY: start_array}
    np.savez(stream, **contents)
    arrays = stream.getvalue()
    record: dict[str, Any] = {
        "schema": layout.FAILURE_SCHEMA,
        "gate": gate,
        "broken_count": broken_count,
        "saved_count": len(kept),
        "arrays": {"file": layout.ARRAYS, "digest": layout.bytes_digest(arrays)},
        "images": _image_records(kept),
        "recipe": dict(recipe),
    }
    record["digest"] = layout.record_digest(record)
    return {
        layout.PICTURE: _picture(kept, gate, recipe, broken_count),
        layout.ARRAYS: arrays,
        layout.RECORD: (json.dumps(record, indent=2, sort_keys=True) + "\n").encode(),
    }


def _unique_starts(kept: _Broken) -> dict[str, np.ndarray]:
    """Images often share a start: each is kept once, named by its content."""
    return {_digest(start): start for start in kept.starts if start is not None}


def _digest(array: np.ndarray) -> str:
    import torch

    return tensor_digest(torch.from_numpy(array.copy()))


def _image_records(kept: _Broken) -> list[dict[str, Json]]:
    return [
        {
            "dataset_index": int(kept.dataset_indices[row]),
            "label": int(kept.labels[row]),
            "predicted": int(kept.predicted[row]),
            "attack": kept.attack_names[row],
            "image_digest": _digest(kept.images[row]),
            "adversarial_digest": _digest(kept.adversarial[row]),
            "start_digest": None if start is None else _digest(start),
        }
        for row, start in enumerate(kept.starts)
    ]


def _picture(kept: _Broken, gate: str, recipe: Mapping[str, Json], broken_count: int) -> bytes:
    entries = []
    for row in range(len(kept)):
        index, label = kept.dataset_indices[row], kept.labels[row]
        caption = f"#{index}  {label} -> {kept.predicted[row]}  {kept.attack_names[row]}"
        image, adversarial = (_at_least_flat(a[row]) for a in (kept.images, kept.adversarial))
        entries.append(PictureEntry(image=image, adversarial=adversarial, caption=caption))
    title = f"{gate}, {len(kept)} of {broken_count} broken images"
    specification = recipe["specification"]
    corrupted = isinstance(specification, dict) and specification.get("kind") == "corruption"
    return draw_picture(
        entries,
        title=title,
        bounds=layout.threat_of(recipe).bounds,
        changed="corrupted" if corrupted else "adversarial",
    )


def _at_least_flat(image: np.ndarray) -> np.ndarray:
    """Return an image with two axes at least: a vector becomes one row."""
    return image.reshape(1, -1) if image.ndim < 2 else image


def _write(directory: Path, gate: str, files: Mapping[str, bytes]) -> tuple[Path, ...]:
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / layout.directory_name(gate)
    files = {**files, **_ignore_file(directory)}
    temporary = Path(tempfile.mkdtemp(dir=directory, prefix=f".{target.name[:40]}."))
    try:
        for name, contents in files.items():
            write_atomically(temporary / name, contents)
        temporary.chmod(0o755)
        discard_failures(directory, gate=gate)
        temporary.replace(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return tuple(target / name for name in files if name != layout.IGNORE)


def _ignore_file(directory: Path) -> dict[str, bytes]:
    """Keep evidence out of git: once for all of ``.fgmf``, elsewhere for each gate by itself.

    Baselines, which live in ``.fgmf`` too, are meant to be committed.
    """
    absolute = directory.absolute()
    home = next((at for at in (absolute, *absolute.parents) if at.name == layout.HOME), None)
    if home is None:
        return {layout.IGNORE: b"*\n"}
    if not (home / layout.IGNORE).exists():
        write_atomically(home / layout.IGNORE, layout.HOME_IGNORE)
    return {}
