"""Turning whatever a user has (arrays, loaders, iterables, paths) into :class:`Samples`.

path                    -> the loader for it
(images, labels)        -> as they are
anything else           -> iterate; every item is one (image, label) or one batch of them
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from fgmf.datasets.archives import npz
from fgmf.datasets.folders import image_folder
from fgmf.datasets.samples import Samples, as_tensor, joined
from fgmf.errors import InvalidInput
from fgmf.seeding import DEFAULT_RUN_SEED, isolated_randomness

_MOST_CHANNELS = 4
_FORMS = (
    "Samples, a tuple (images, labels), a torch Dataset or DataLoader, an iterable of "
    "(images, labels) batches or of (image, label) pairs, the path of an .npz file, or the path "
    "of a folder with one folder of images per class"
)

Item = tuple[torch.Tensor, torch.Tensor]


def collect_samples(source: object) -> Samples:
    """Read all images and labels of a source into memory, as they are.

    Args:
        source: :class:`Samples`; a tuple (images, labels) of arrays, tensors or lists, or a list
            of two arrays or tensors; a torch Dataset or DataLoader; any other iterable of
            (images, labels) batches or of single (image, label) pairs; the path of an ``.npz``
            file (:func:`~fgmf.datasets.npz`) or of a folder with one folder per class
            (:func:`~fgmf.datasets.image_folder`).

    Returns:
        Samples on the CPU. No dtype is converted and no value rescaled.

    Raises:
        InvalidInput: No images; images of different shapes; not one label for each image; items
            that are no pairs; a path that is neither. What the source itself raises while it is
            read passes through.

    Randomness: a source that shuffles or augments draws from a fixed seed, so that it gives the
        same samples each time; the global generators are left as they were.
    """
    if isinstance(source, Samples):
        return source
    if isinstance(source, str | os.PathLike):
        return _from_path(Path(source))
    if isinstance(source, list | tuple) and _is_pair_of_stacks(source):
        return Samples(images=as_tensor(source[0], "images"), labels=as_tensor(source[1], "labels"))
    with isolated_randomness(DEFAULT_RUN_SEED):
        items = [_item(position, item) for position, item in enumerate(_iterated(source))]
    if not items:
        raise InvalidInput(
            f"expected at least one image, got an empty {type(source).__name__}; a generator "
            "that was read before is empty the second time"
        )
    if not _are_batches(items, from_loader=_makes_batches(source)):
        items = [(image[None], label[None]) for image, label in items]
    return Samples(
        images=joined([image for image, _ in items], "images"),
        labels=joined([label for _, label in items], "labels"),
    )


def _from_path(path: Path) -> Samples:
    if path.is_dir():
        return image_folder(path)
    if path.suffix.lower() == ".npz":
        return npz(path)
    state = "another kind of file" if path.exists() else "nothing there"
    raise InvalidInput(f"expected an .npz file or a folder of images at {path}, got {state}")


def _is_pair_of_stacks(source: list[object] | tuple[object, ...]) -> bool:
    if len(source) != 2:
        return False
    arrays = all(isinstance(part, torch.Tensor | np.ndarray) for part in source)
    return arrays or isinstance(source, tuple)


def _iterated(source: object) -> Iterator[object]:
    if isinstance(source, torch.Tensor | np.ndarray | Mapping | bytes):
        raise InvalidInput(f"expected images with labels, got {_shown(source)}; pass {_FORMS}")
    if isinstance(source, Dataset) and not isinstance(source, IterableDataset):
        if not hasattr(source, "__len__"):
            raise InvalidInput(f"expected a Dataset with a length, got {type(source).__name__}")
        return (source[position] for position in range(len(source)))
    if isinstance(source, Iterable):
        return iter(source)
    raise InvalidInput(f"expected images with labels, got {_shown(source)}; pass {_FORMS}")


def _item(position: int, item: object) -> Item:
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise InvalidInput(
            f"expected (images, labels) or (image, label) from the source, got {_shown(item)} at "
            f"position {position}; map its items to pairs of exactly image and label"
        )
    image, label = item
    return as_tensor(image, f"image {position}"), as_tensor(label, f"label {position}")


def _makes_batches(source: object) -> bool:
    return isinstance(source, DataLoader) and source.batch_sampler is not None


def _are_batches(items: list[Item], *, from_loader: bool) -> bool:
    """Whether items are batches: a first axis that images and labels share, in every item.

    One case is open: (k, h, w) with labels (k,), k at most 4, in every item is either a colour
    image with a one-hot label or a batch of k grey images. A DataLoader knows that it batches.
    """
    for image, label in items:
        if not image.ndim or not label.ndim or image.shape[0] != label.shape[0]:
            return False
    could_be_one = all(
        image.ndim == 3 and label.ndim == 1 and len(label) <= _MOST_CHANNELS
        for image, label in items
    )
    same_length = len({len(label) for _, label in items}) == 1
    return from_loader or not (could_be_one and same_length)


def _shown(value: object) -> str:
    kind = type(value).__name__
    if isinstance(value, torch.Tensor | np.ndarray):
        return f"{kind} of shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"{kind} with keys {sorted(map(str, value))[:8]}"
    if isinstance(value, tuple | list):
        return f"{kind} of length {len(value)}"
    return kind
