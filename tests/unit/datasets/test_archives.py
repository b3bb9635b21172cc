"""Archives: read as they are, nothing unpickled, broken ones refused."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fgmf.datasets import npz
from fgmf.errors import InvalidInput

IMAGES = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
LABELS = np.array([1, 0], dtype=np.int16)


@pytest.mark.parametrize("keys", [("images", "labels"), ("x", "y")])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_both_pairs_of_names(tmp_path: Path, keys: tuple[str, str], save: Any) -> None:
    path = tmp_path / "set.npz"
    save(path, **{keys[0]: IMAGES, keys[1]: LABELS, "more": np.zeros(9)})
    samples = npz(path)
    assert torch.equal(samples.images, torch.from_numpy(IMAGES))
    assert samples.images.dtype is torch.uint8
    assert samples.labels.dtype is torch.int16
    assert torch.equal(npz(str(path)).labels, samples.labels)


class Payload:
    """Would write a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    path, trace = tmp_path / "set.npz", tmp_path / "trace"
    np.savez(path, images=np.array([Payload(trace)], dtype=object), labels=LABELS)
    with pytest.raises(InvalidInput, match="plain numbers"):
        npz(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": IMAGES, "labels": LABELS}, r"got \['labels', 'pictures'\]"),
        ({"images": IMAGES, "y": LABELS}, "'images' and 'labels' or 'x' and 'y'"),
        ({"images": IMAGES, "labels": LABELS[:1]}, "as many labels as images"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "at least one image"),
        ({"images": IMAGES, "labels": np.array(["a", "b"])}, "numbers in labels in .*set.npz"),
    ],
)
def test_wrong_contents(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, **arrays)
    with pytest.raises(InvalidInput, match=message):
        npz(path)


def test_files_that_are_no_archives(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No such file"):
        npz(tmp_path / "missing.npz")
    with pytest.raises(InvalidInput, match="Is a directory"):
        npz(tmp_path)
    single = tmp_path / "single.npz"
    with single.open("wb") as stream:
        np.save(stream, IMAGES)
    with pytest.raises(InvalidInput, match="another kind of file"):
        npz(single)
    other = tmp_path / "other.npz"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("images.npy", b"not an array")
        archive.writestr("labels.npy", b"not an array")
    with pytest.raises(InvalidInput, match=r"images in .*other\.npz as a tensor"):
        npz(other)


@given(position=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_changed_byte_is_an_error_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int
) -> None:
    path = tmp_path_factory.mktemp("npz") / "set.npz"
    np.savez_compressed(path, images=IMAGES, labels=LABELS)
    contents = bytearray(path.read_bytes())
    contents[position % len(contents)] = value
    path.write_bytes(contents)
    try:
        samples = npz(path)
    except InvalidInput:
        return
    assert len(samples) == 2
    assert torch.equal(samples.images, torch.from_numpy(IMAGES))
