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
    Whole = NDArray[np.int64]

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
    fill, chosen = fill.to(device), torch.from_numpy(subsets).to(device)

    def make(variants: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The image itself, then each subset of it."""
        rows, number = variants // (runs + 1), variants % (runs + 1)
        there, subset = rows.to(device), (number - 1).clamp_min(0).to(device)
        changed = fill.replace_at(there, chosen[there, subset])
        whole = (number == 0).to(device)
        if bool(whole.any()):
            changed[whole] = fill.images[there[whole]]
        return changed, rows

    answers = task.answers_to(count * (runs + 1), make).reshape(count, runs + 1)
    drops = answers[:, :1] - answers[:, 1:]
    maps = task.flat_maps(per_channel=True)
    sums = maps[np.arange(count)[:, None, None], subsets].sum(axis=-1)
    return pearson_rows(sums, drops), drops


def draw_subsets(task: MetricTask) -> Whole:
    """Draw the subsets of every image.

    Returns:
        (n, runs, size) positions among the features of an image, none twice in a subset.

    Raises:
        InvalidInput: A subset would hold all pixels.
    """
    runs, size = task.number("nr_runs"), subset_size(task)
    features = task.explained.images[0].numel()

    def drawn(key: str) -> Whole:
        generator = image_generator(task.seed, key, "subsets")
        # The places of the smallest of independent draws: every subset is as likely as any other.
        return generator.random((runs, features)).argpartition(size - 1, axis=1)[:, :size]

    return np.stack([drawn(key) for key in task.explained.keys])


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
