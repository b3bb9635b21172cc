"""What a training refuses before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.errors import InvalidInput
from fgmf.training.interface import SeeingObjective, SharedObjective

if TYPE_CHECKING:
    from fgmf.datasets import Samples
    from fgmf.training.augmentation import Augmentation
    from fgmf.training.interface import Objective
    from fgmf.types import Bounds


def check_views(objective: Objective, augmentation: Augmentation | None) -> None:
    """Refuse to move images under an objective that keeps something for each as it is.

    Raises:
        InvalidInput: It keeps something, and cannot be told of views.
    """
    keeps = isinstance(objective, SharedObjective) and not isinstance(objective, SeeingObjective)
    if augmentation is not None and keeps:
        raise InvalidInput(
            "expected no augmentation, or an objective with a method `see`, as "
            f"{type(objective).__name__} keeps something for each image"
        )


def check_samples(samples: Samples, bounds: Bounds) -> None:
    """Refuse images and labels that cannot be trained on.

    Raises:
        InvalidInput: Their shape, type or range is wrong.
    """
    images, labels = samples.images, samples.labels
    if images.ndim != 4 or not images.is_floating_point():
        raise InvalidInput(
            "expected floating-point images of shape (n, c, h, w), "
            f"got {images.dtype} of shape {tuple(images.shape)}"
        )
    lowest, highest = float(images.min()), float(images.max())
    if not bounds[0] <= lowest <= highest <= bounds[1]:
        raise InvalidInput(
            f"expected images within the bounds {list(bounds)} of the recipe, "
            f"got range [{lowest:g}, {highest:g}]; rescale them, or give the recipe their bounds"
        )
    whole = not labels.is_floating_point() and not labels.is_complex()
    if labels.ndim != 1 or not whole or int(labels.min()) < 0:
        raise InvalidInput(
            "expected labels as class numbers from 0 on, of shape (n,), "
            f"got {labels.dtype} of shape {tuple(labels.shape)}"
        )
