"""The images that a gate measures: a seeded, stratified sample of the user's data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch

from fgmf.canonical import row_digests
from fgmf.errors import InvalidInput
from fgmf.sampling import stratified_sample
from fgmf.seeding import image_generator

if TYPE_CHECKING:
    from fgmf.datasets import Samples
    from fgmf.types import Bounds, Images, Labels


@dataclass(frozen=True, kw_only=True)
class MeasuredImages:
    """The images that a gate measures, in the form that the engine wants.

    Attributes:
        images: (n, ...) floating point, inside the bounds; they may be the user's own: read only.
        labels: (n,) int64.
        indices: Position of each in the user's data set.
        keys: One digest per image.
        class_sizes: Images of each class that the sample was drawn from.
        dataset_size: Images that the sample was drawn from.
    """

    images: Images
    labels: Labels
    indices: list[int]
    keys: list[str]
    class_sizes: dict[int, int]
    dataset_size: int

    def first(self, count: int) -> MeasuredImages:
        """Return the first images of the sample; what they were drawn from stays the same."""
        return replace(
            self,
            images=self.images[:count],
            labels=self.labels[:count],
            indices=self.indices[:count],
            keys=self.keys[:count],
        )


def choose_images(  # noqa: PLR0913 - keyword-only parts of one question
    samples: Samples,
    *,
    count: int | Literal["all"],
    seed: int,
    bounds: Bounds,
    dtype: torch.dtype,
    without_class: int | None = None,
    random_order: bool = False,
) -> MeasuredImages:
    """Draw the sample of a gate.

    Args:
        samples: Images and labels as the user gave them, past the preflight.
        count: Size of the sample; the whole of smaller sets.
        seed: Fixes the sample.
        bounds: Images are clamped to them: the preflight has let rounding through.
        dtype: Type of the classifier; images are float64 for float64, else float32.
        without_class: Images of this class are left out.
        random_order: Draw image after image from the whole set, all orders alike, instead of a
            stratified sample: what a verdict needs that may stop after any of them.

    Returns:
        The sample, in the order of the data set or in that in which it was drawn.

    Raises:
        InvalidInput: No image is left.

    Randomness: `seed`, as in :func:`fgmf.sampling.stratified_sample`, or a permutation.
    """
    labels = samples.labels.flatten().to(torch.int64)
    eligible = [at for at in range(len(labels)) if int(labels[at]) != without_class]
    if not eligible:
        raise InvalidInput("expected images of other classes than the target, got none")
    own_labels = [int(labels[at]) for at in eligible]
    wanted = len(eligible) if count == "all" else min(count, len(eligible))
    if random_order:
        chosen = image_generator(seed, "order").permutation(len(eligible))[:wanted].tolist()
    else:
        chosen = stratified_sample(own_labels, count=wanted, seed=seed)
    indices = [eligible[at] for at in chosen]
    floating = torch.float64 if dtype is torch.float64 else torch.float32
    images = _drawn(samples.images, indices, bounds=bounds, dtype=floating)
    return MeasuredImages(
        images=images,
        labels=labels[indices],
        indices=indices,
        keys=row_digests(images),
        class_sizes=dict(Counter(own_labels)),
        dataset_size=len(eligible),
    )


def _drawn(images: Images, indices: list[int], *, bounds: Bounds, dtype: torch.dtype) -> Images:
    """Some images as measured; all of them as they are where nothing has to change.

    Nothing below writes to images, and models get copies: memory does not grow with a second set.
    """
    whole = indices == list(range(len(images)))
    if whole and images.dtype is dtype and images.device.type == "cpu":
        lower, upper = bounds
        if bool(images.amin() >= lower) and bool(images.amax() <= upper):
            return images.detach()
    return images[indices].to(dtype).clamp_(*bounds)  # a copy already
