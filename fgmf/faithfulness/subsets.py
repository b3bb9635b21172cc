"""Removing random subsets of pixels: faithfulness correlation.

for every (image, subset) pair, in full batches of the classifier:
    drop of the answer when the subset is replaced;  sum of the map over the subset
score = Pearson's correlation of drops and sums, image by image
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from fgmf.errors import InvalidInput
from fgmf.seeding import image_generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fgmf.faithfulness.task import MetricTask

    Floats = NDArray[np.float64]
    Chosen = NDArray[np.bool_]

_SHARE = 4


def faithfulness_correlation(task: MetricTask) -> tuple[Floats, Floats]:
    """Correlate the sums of a map over random subsets with the drops that removing them makes.

    Returns:
        Scores (n,), and the drops (n, subsets).

    Source: Bhatt et al. (2020), as `quantus.FaithfulnessCorrelation`.
    Cost: `nr_runs` + 1 forward passes per image.
    Randomness: subsets by the seed and the image's key.
    """
    subsets = draw_subsets(task)
    fill = task.fill
    if fill is None:
        raise TypeError("faithfulness correlation removes pixels, so it takes a replacement")
    device, (count, runs, _) = task.classifier.device, subsets.shape
    nothing = np.zeros_like(subsets[:, :1])
    removed = torch.from_numpy(np.concatenate([nothing, subsets], axis=1))
    fill = fill.to(device)
    removed = removed.reshape(count, runs + 1, *fill.images.shape[1:]).to(device)

    def make(variants: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The image itself, then each subset of it."""
        rows, number = variants // (runs + 1), variants % (runs + 1)
        there = rows.to(device)
        return fill.replace(there, removed[there, number.to(device)]), rows

    answers = task.answers_to(count * (runs + 1), make).reshape(count, runs + 1)
    drops = answers[:, :1] - answers[:, 1:]
    maps = task.flat_maps(per_channel=True)
    sums = np.stack([chosen @ one for chosen, one in zip(subsets, maps, strict=True)])
    return pearson_rows(sums, drops), drops


def draw_subsets(task: MetricTask) -> Chosen:
    """Draw the subsets of every image.

    Returns:
        (n, runs, features) True for what a subset holds: the same number of features in each.

    Raises:
        InvalidInput: A subset would hold all pixels.
    """
    runs, size = task.number("nr_runs"), subset_size(task)
    features = task.explained.images[0].numel()

    def drawn(key: str) -> Chosen:
        generator = image_generator(task.seed, key, "subsets")
        # Whoever draws the smallest numbers: every subset is as likely as any other.
        numbers = generator.integers(2**32, size=(runs, features), dtype=np.uint32)
        return smallest(numbers, size)

    return np.stack([drawn(key) for key in task.explained.keys])


def smallest(numbers: NDArray[np.uint32], size: int) -> Chosen:
    """Mark the `size` smallest numbers of each row (runs, features); of equal ones any."""
    last = np.partition(numbers, size - 1, axis=1)[:, size - 1 : size]
    chosen: Chosen = numbers <= last
    for row in np.flatnonzero(chosen.sum(axis=1) != size):  # the last of them was drawn twice
        chosen[row] = False
        chosen[row, numbers[row].argsort(kind="stable")[:size]] = True
    return chosen


def subset_size(task: MetricTask) -> int:
    """Features in a subset: as asked, or a quarter of the pixels.

    Raises:
        InvalidInput: It is not smaller than an image.
    """
    asked, pixels = task.number("subset_size"), task.pixel_count
    size = asked or max(1, pixels // _SHARE)
    if size >= pixels:
        message = f"expected subset_size below the {pixels} pixels of an image, got {size}"
        raise InvalidInput(message)
    return size


def pearson_rows(one: Floats, other: Floats) -> Floats:
    """Correlate each row (n, k) of one with that of the other; NaN where a row is constant."""
    first = one - one.mean(axis=1, keepdims=True)
    second = other - other.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        first = first / np.abs(first).max(axis=1, keepdims=True)
        second = second / np.abs(second).max(axis=1, keepdims=True)
        scale = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
        correlation: Floats = (first * second).sum(axis=1) / scale
    return correlation
