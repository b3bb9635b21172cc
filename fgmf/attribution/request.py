"""What an explainer works on: checked images, targets and keys, and every draw by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from fgmf.canonical import row_digests
from fgmf.errors import InvalidInput
from fgmf.seeding import image_generator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.classifier import Classifier
    from fgmf.types import Bounds, Images, Labels


@dataclass(frozen=True, kw_only=True)
class Request:
    """Images to explain, on the classifier's device.

    Attributes:
        classifier: Inside its guard.
        images: (n, c, h, w) in the classifier's precision, at least float32.
        targets: (n,) int64.
        keys: One per image.
        seed: With the keys it fixes all draws.
    """

    classifier: Classifier
    images: Images
    targets: Labels
    keys: tuple[str, ...]
    seed: int

    @property
    def bounds(self) -> Bounds:
        """Lowest and highest valid pixel value."""
        return self.classifier.bounds

    def normal(self, image: int, what: str, number: int) -> torch.Tensor:
        """Standard normal numbers of one image.

        Args:
            image: Its position.
            what: What they are for.
            number: Which of the draws for that purpose.

        Returns:
            (c, h, w) like the images.

        Randomness: fixed by seed, key, `what` and `number`.
        """
        generator = image_generator(self.seed, self.keys[image], what, number)
        drawn = generator.standard_normal(tuple(self.images.shape[1:]), dtype="float32")
        return torch.from_numpy(drawn).to(self.images)

    def uniform(self, image: int, what: str, number: int) -> float:
        """One uniform number of an image, in [0, 1): arguments as for :meth:`normal`.

        Randomness: fixed by seed, key, `what` and `number`.
        """
        return float(image_generator(self.seed, self.keys[image], what, number).random())


def make_request(
    classifier: Classifier,
    images: Images,
    targets: Labels,
    keys: Sequence[str] | None,
    seed: int,
) -> Request:
    """Check what came.

    Args:
        classifier: Inside its guard.
        images: (n, c, h, w).
        targets: (n,).
        keys: One per image, or None.
        seed: Of the draws.

    Raises:
        InvalidInput: Something has another shape, type or range than expected.
    """
    _check_images(images, classifier.bounds)
    _check_targets(targets, len(images))
    names = tuple(row_digests(images)) if keys is None else tuple(keys)
    if len(names) != len(images):
        raise InvalidInput(f"expected one key for each of {len(images)} images, got {len(names)}")
    return Request(
        classifier=classifier,
        images=images.detach().to(device=classifier.device, dtype=_precision(images, classifier)),
        targets=targets.detach().to(device=classifier.device, dtype=torch.int64),
        keys=names,
        seed=seed,
    )


def _precision(images: Images, classifier: Classifier) -> torch.dtype:
    double = torch.float64 in {images.dtype, classifier.dtype}
    return torch.float64 if double else torch.float32


def _check_images(images: Images, bounds: Bounds) -> None:
    shaped = isinstance(images, torch.Tensor) and images.ndim == 4 and images.numel() > 0
    if not shaped or not images.is_floating_point():
        got = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, torch.Tensor) else ""
        message = "expected images as a floating-point tensor (n, c, h, w) with n >= 1, got "
        raise InvalidInput(message + (got or type(images).__name__))
    lowest, highest = float(images.amin()), float(images.amax())
    slack = 1e-4 * (bounds[1] - bounds[0])  # a normalisation undone in float32 is this far off
    if not (lowest >= bounds[0] - slack and highest <= bounds[1] + slack):
        message = (
            f"expected images within bounds [{bounds[0]:g}, {bounds[1]:g}], got range "
            f"[{lowest:g}, {highest:g}] (shape {tuple(images.shape)}); pass the model's own "
            "bounds or undo the normalisation"
        )
        raise InvalidInput(message)


def _check_targets(targets: Labels, count: int) -> None:
    whole = isinstance(targets, torch.Tensor) and targets.dtype in {
        torch.uint8,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
    }
    if not whole or tuple(targets.shape) != (count,):
        got = f"{targets.dtype} {tuple(targets.shape)}" if isinstance(targets, torch.Tensor) else ""
        message = f"expected targets as class indices of shape ({count},), got "
        raise InvalidInput(message + (got or type(targets).__name__))
