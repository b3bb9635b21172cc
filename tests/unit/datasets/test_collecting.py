"""Every kind of source gives the same samples, and every wrong one says what is expected."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from fgmf.datasets import Samples, collect_samples
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

IMAGES = torch.arange(6 * 1 * 4 * 4, dtype=torch.float32).reshape(6, 1, 4, 4)
LABELS = torch.tensor([2, 0, 1, 2, 0, 1])


class Pairs(Dataset[Any]):
    """A map-style dataset without IndexError at its end, as most users write them."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
        return IMAGES[position % 6], int(LABELS[position % 6])


class Stream(IterableDataset[Any]):
    """A dataset that only iterates."""

    def __iter__(self) -> Iterator[Any]:
        return iter(zip(IMAGES, LABELS, strict=True))


class Batches:
    """Anything with `__iter__`."""

    def __iter__(self) -> Iterator[Any]:
        return iter([(IMAGES[:4], LABELS[:4]), (IMAGES[4:], LABELS[4:])])


SOURCES: dict[str, Callable[[], object]] = {
    "samples": lambda: Samples(images=IMAGES, labels=LABELS),
    "tensors": lambda: (IMAGES, LABELS),
    "list of tensors": lambda: [IMAGES, LABELS],
    "arrays": lambda: (IMAGES.numpy(), LABELS.numpy()),
    "lists": lambda: (IMAGES.tolist(), LABELS.tolist()),
    "tuple of lists of tensors": lambda: (list(IMAGES), list(LABELS)),
    "dataset": Pairs,
    "tensor dataset": lambda: TensorDataset(IMAGES, LABELS),
    "iterable dataset": Stream,
    "loader": lambda: DataLoader(Pairs(), batch_size=4),
    "loader of one": lambda: DataLoader(Pairs(), batch_size=1),
    "loader without batches": lambda: DataLoader(Stream(), batch_size=None),
    "iterable of batches": Batches,
    "generator of pairs": lambda: (pair for pair in zip(IMAGES, LABELS, strict=True)),
    "list of pairs": lambda: list(zip(IMAGES, LABELS.tolist(), strict=True)),
    "list of batches": lambda: [[IMAGES[:1], LABELS[:1]], [IMAGES[1:], LABELS[1:]]],
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_gives_the_same(name: str) -> None:
    samples = collect_samples(SOURCES[name]())
    assert torch.equal(samples.images, IMAGES)
    assert torch.equal(samples.labels, LABELS)
    assert samples.images.dtype is torch.float32
    assert samples.labels.dtype is torch.int64


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float64, torch.uint16])
def test_no_dtype_is_converted(dtype: torch.dtype) -> None:
    images, labels = IMAGES.to(dtype), LABELS.to(torch.int32)
    for source in ((images, labels), DataLoader(TensorDataset(images, labels), batch_size=4)):
        samples = collect_samples(source)
        assert samples.images.dtype is dtype
        assert samples.labels.dtype is torch.int32
        assert torch.equal(samples.images, images)


def test_one_hot_labels_stay_one_hot() -> None:
    one_hot = torch.eye(3)[LABELS]
    for source in (
        (IMAGES, one_hot),
        DataLoader(TensorDataset(IMAGES, one_hot), batch_size=4),
        TensorDataset(IMAGES, one_hot),
    ):
        assert torch.equal(collect_samples(source).labels, one_hot)


def test_colour_image_with_one_hot_label_is_one_image() -> None:
    colour, one_hot = torch.rand(6, 3, 5, 5), torch.eye(3)[LABELS]
    samples = collect_samples(zip(colour, one_hot, strict=True))
    assert torch.equal(samples.images, colour)
    assert torch.equal(samples.labels, one_hot)


def test_batches_of_few_grey_images_without_channels_stay_batches() -> None:
    grey = IMAGES[:, 0]
    for batch_size in (1, 3, 4):
        loader = DataLoader(TensorDataset(grey, LABELS), batch_size=batch_size)
        assert torch.equal(collect_samples(loader).images, grey)


def test_large_colour_images() -> None:
    images = torch.rand(3, 3, 224, 224)
    samples = collect_samples(DataLoader(TensorDataset(images, LABELS[:3]), batch_size=2))
    assert samples.images.shape == (3, 3, 224, 224)


def test_shuffling_gives_the_same_samples_and_leaves_the_generators() -> None:
    first = collect_samples(DataLoader(Pairs(), batch_size=2, shuffle=True))
    torch.manual_seed(99)
    random.seed(99)
    state, python_state = torch.get_rng_state(), random.getstate()
    second = collect_samples(DataLoader(Pairs(), batch_size=2, shuffle=True))
    assert torch.equal(first.images, second.images)
    assert torch.equal(state, torch.get_rng_state())
    assert python_state == random.getstate()


def test_paths(tmp_path: Path) -> None:
    archive = tmp_path / "set.npz"
    np.savez(archive, images=IMAGES.numpy(), labels=LABELS.numpy())
    assert torch.equal(collect_samples(archive).images, IMAGES)
    assert torch.equal(collect_samples(str(archive)).labels, LABELS)
    with pytest.raises(InvalidInput, match="nothing there"):
        collect_samples(tmp_path / "missing.npy")
    (tmp_path / "set.pkl").write_bytes(b"\x80\x04.")
    with pytest.raises(InvalidInput, match="another kind of file"):
        collect_samples(tmp_path / "set.pkl")
    with pytest.raises(InvalidInput, match="one folder of images per class"):
        collect_samples(tmp_path)


def exhausted() -> Iterator[Any]:
    generator = iter([(IMAGES, LABELS)])
    next(generator)
    return generator


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "empty list"),
        (exhausted(), "read before"),
        (TensorDataset(IMAGES[:0], LABELS[:0]), "empty TensorDataset"),
        (([], []), "at least one image"),
        ((IMAGES, LABELS[:3]), "6 images of shape .* and 3 labels"),
        (IMAGES, r"images with labels, got Tensor of shape \(6, 1, 4, 4\); pass Samples, a tuple"),
        (IMAGES.numpy(), "got ndarray"),
        ({"image": IMAGES, "label": LABELS}, r"got dict with keys \['image', 'label'\]"),
        (7, "got int; pass Samples"),
        (None, "got NoneType"),
        (b"bytes", "got bytes"),
        ([{"image": IMAGES[0]}], r"got dict with keys \['image'\] at position 0"),
        ([(IMAGES[0], 1), IMAGES[1], (IMAGES[2], 2)], "got Tensor of .* at position 1"),
        ([(IMAGES[0], 1, 0)], "got tuple of length 3 at position 0"),
        (["ab", "cd"], "got str at position 0"),
        ([(IMAGES[0], 1), (IMAGES[1][:, :2], 1), (IMAGES[2], 1)], "at position 1; resize"),
        ([(IMAGES[0], 1), (IMAGES[1].double(), 1), (IMAGES[2], 1)], "one dtype"),
        ([(IMAGES[0], 1), (IMAGES[1], 1.5), (IMAGES[2], 1)], "labels of one dtype"),
        ([(IMAGES[0], "cat")], "label 0 as a tensor, array or number, got builtins.str"),
        ([(IMAGES[0], None)], "label 0"),
    ],
)
def test_wrong_sources_are_told_what_is_expected(source: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        collect_samples(source)


def test_what_the_source_raises_passes_through() -> None:
    class Broken(Pairs):
        def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
            raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        collect_samples(Broken())


def test_dataset_without_length_is_refused() -> None:
    class Endless(Dataset[Any]):
        def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
            return IMAGES[0], 0

    with pytest.raises(InvalidInput, match="Dataset with a length, got Endless"):
        collect_samples(Endless())


@given(
    count=st.integers(1, 9),
    batch=st.integers(1, 10),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
)
def test_batching_never_changes_the_samples(
    count: int, batch: int, channels: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, channels, 5, 6, generator=generator)
    labels = torch.randint(0, 9, (count,), generator=generator)
    batches = zip(images.split(batch), labels.split(batch), strict=True)
    for source in (batches, zip(images, labels, strict=True)):
        samples = collect_samples(source)
        assert torch.equal(samples.images, images)
        assert torch.equal(samples.labels, labels)
