"""Checks on the images: one pass over all of them, then judgements on the statistics."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from fgmf.preflight.policy import Observation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.types import Bounds, ImageFlags, Json, Severity

_BLOCK: Final = 256
"""Images looked at together: bounds the memory of the pass."""
_ROUNDING: Final = 1e-6
"""Excess over the bounds, relative to their width, that is float32 rounding and no mistake."""
_LITTLE: Final = 0.1
"""Part of the bounds that images of the same units fill at least."""
_FEW_IMAGES: Final = 10
"""Even a perfect score on fewer images leaves a 95 % interval that starts below 0.7."""
_MANY_DUPLICATES: Final = 0.05
_MOSTLY_DUPLICATES: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class ImageStatistics:
    """What one pass over all images tells; over finite pixels where there are others.

    Attributes:
        shape: Shape of the whole set, (n, ...).
        dtype: As text, without the ``torch.`` prefix.
        lowest: Smallest pixel value.
        highest: Largest pixel value.
        mean: One value per channel (second axis), in the units of the images.
        std: Likewise.
        nonfinite_images: Images with a NaN or infinite pixel.
        constant_images: Images of more than one pixel in which all pixels are equal.
        duplicate_images: Images equal to an earlier one.
        whole: All pixels are whole numbers.
    """

    shape: tuple[int, ...]
    dtype: str
    lowest: float
    highest: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    nonfinite_images: int
    constant_images: int
    duplicate_images: int
    whole: bool

    @property
    def count(self) -> int:
        """Number of images."""
        return self.shape[0]

    @property
    def average(self) -> float:
        """Mean over the channels' means."""
        return sum(self.mean) / len(self.mean)

    @property
    def deviation(self) -> float:
        """Root of the mean over the channels' variances."""
        return math.sqrt(sum(value**2 for value in self.std) / len(self.std))

    def evidence(self) -> dict[str, Json]:
        """Range and scale, for a finding."""
        return {
            "lowest": round(self.lowest, 6),
            "highest": round(self.highest, 6),
            "mean": [round(value, 4) for value in self.mean],
            "std": [round(value, 4) for value in self.std],
        }


def measure_images(images: torch.Tensor) -> ImageStatistics:
    """Look at every image once.

    Args:
        images: (n, ...) real numbers of any dtype, n >= 1, at least one pixel each.

    Returns:
        Statistics over all images.

    Cost: one pass over the data, in blocks; no forward passes.
    """
    totals = _Totals(channels=images.shape[1] if images.ndim > 2 else 1)
    for start in range(0, images.shape[0], _BLOCK):
        totals.add(images[start : start + _BLOCK])
    return totals.statistics(images)


class _Totals:
    """Running totals over blocks of images."""

    def __init__(self, *, channels: int) -> None:
        self._channels = channels
        self._sums = torch.zeros(channels, dtype=torch.float64)
        self._squares = torch.zeros(channels, dtype=torch.float64)
        self._pixels = 0
        self._lowest, self._highest = math.inf, -math.inf
        self._nonfinite = self._constant = self._duplicates = 0
        self._whole = True
        self._seen: set[bytes] = set()

    def add(self, block: torch.Tensor) -> None:
        flat = block.detach().to("cpu").reshape(block.shape[0], self._channels, -1)
        for image in flat:
            digest = hashlib.blake2b(_bytes_of(image), digest_size=16).digest()
            self._duplicates += digest in self._seen
            self._seen.add(digest)
        values = flat if flat.dtype is torch.float32 else flat.to(torch.float64)
        finite = torch.isfinite(values).all(dim=2).all(dim=1)
        self._nonfinite += int((~finite).sum())
        values = values[finite]
        if values.shape[0]:
            self._add_finite(values)

    def _add_finite(self, values: torch.Tensor) -> None:
        self._whole = self._whole and bool((values == values.round()).all())
        lowest, highest = values.amin(dim=(1, 2)), values.amax(dim=(1, 2))
        if values[0].numel() > 1:
            self._constant += int((lowest == highest).sum())
        self._lowest = min(self._lowest, float(lowest.min()))
        self._highest = max(self._highest, float(highest.max()))
        means = values.mean(dim=(0, 2), dtype=torch.float64)
        pixels = values.shape[0] * values.shape[2]
        self._sums += means * pixels
        self._squares += values.to(torch.float64).square().sum(dim=(0, 2))
        self._pixels += pixels

    def statistics(self, images: torch.Tensor) -> ImageStatistics:
        mean = self._sums / max(self._pixels, 1)
        variance = (self._squares / max(self._pixels, 1) - mean.square()).clamp(min=0.0)
        seen = self._pixels > 0
        return ImageStatistics(
            shape=tuple(images.shape),
            dtype=str(images.dtype).removeprefix("torch."),
            lowest=self._lowest if seen else math.nan,
            highest=self._highest if seen else math.nan,
            mean=tuple(mean.tolist()),
            std=tuple(variance.sqrt().tolist()),
            nonfinite_images=self._nonfinite,
            constant_images=self._constant,
            duplicate_images=self._duplicates,
            whole=seen and self._whole,
        )


def _bytes_of(image: torch.Tensor) -> bytes:
    return image.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def finite_images(images: torch.Tensor) -> ImageFlags:
    """Tell for each image whether all of its pixels are finite: (n,) bool on the CPU."""
    blocks = images.split(_BLOCK)
    return torch.cat([torch.isfinite(block).flatten(1).all(dim=1).cpu() for block in blocks])


def usable_images(images: torch.Tensor) -> Iterator[Observation]:
    """Check that there are images at all, of real numbers; anything found ends the preflight.

    Args:
        images: As the user gave them.
    """
    if images.ndim < 2 or 0 in images.shape:
        yield Observation(
            name="too-few-images",
            severity="error",
            message=f"expected images of shape (n, channels, height, width), got "
            f"{tuple(images.shape)}",
            fix="pass at least one image, with a leading axis for the number of images",
            evidence={"shape": list(images.shape)},
        )
    elif images.dtype.is_complex:
        yield Observation(
            name="images-dtype",
            severity="error",
            message=f"expected images of real numbers, got {images.dtype}",
            fix="pass real images, for example the magnitude",
            evidence={"dtype": str(images.dtype)},
        )


def observe_images(statistics: ImageStatistics, *, bounds: Bounds) -> Iterator[Observation]:
    """Judge the images by themselves and against the bounds.

    Args:
        statistics: Of all images.
        bounds: The classifier's bounds.
    """
    yield from _observe_finite(statistics)
    if statistics.nonfinite_images < statistics.count:
        yield from _observe_range(statistics, bounds)
    yield from _observe_variety(statistics)
    if statistics.dtype not in {"float32", "float16", "bfloat16"}:
        yield Observation(
            name="images-dtype",
            severity="note",
            message=f"images are {statistics.dtype}; the adapter converts them for the model",
            fix="nothing to do; pass float32 to silence this",
            evidence={"dtype": statistics.dtype},
        )


def _observe_finite(statistics: ImageStatistics) -> Iterator[Observation]:
    bad = statistics.nonfinite_images
    if bad:
        yield Observation(
            name="nan-images",
            severity="error",
            message=f"expected finite pixel values, got NaN or infinity in {bad} of "
            f"{statistics.count} images",
            fix="leave these images out, or repair what loads them",
            evidence={"images": bad, "image_count": statistics.count},
        )


def _observe_range(statistics: ImageStatistics, bounds: Bounds) -> Iterator[Observation]:
    lower, upper = bounds
    width = upper - lower
    excess = max(lower - statistics.lowest, statistics.highest - upper) / width
    evidence = statistics.evidence() | {"bounds": [lower, upper]}
    if excess > _ROUNDING:
        yield Observation(
            name="images-outside-bounds",
            severity="error",
            message=f"expected images within the bounds [{lower:g}, {upper:g}], got "
            f"{statistics.dtype} range [{statistics.lowest:.4g}, {statistics.highest:.4g}] "
            f"(shape {statistics.shape})",
            fix=_fix_range(statistics, bounds),
            evidence=evidence,
        )
    elif wider_than_images(bounds, statistics.lowest, statistics.highest):
        yield Observation(
            name="bounds-wider-than-images",
            severity="warning",
            message=f"images span [{statistics.lowest:.4g}, {statistics.highest:.4g}] of the "
            f"bounds [{lower:g}, {upper:g}]: epsilon may be in other units than the images",
            fix="declare the range that the images really have as bounds, such as (0, 1)",
            evidence=evidence,
        )


def wider_than_images(bounds: Bounds, lowest: float, highest: float) -> bool:
    """Tell whether images fill less than a tenth of the bounds: epsilon may be in other units.

    Args:
        bounds: Lowest and highest valid pixel value.
        lowest: Smallest pixel value that there is.
        highest: Largest.
    """
    return 0 < highest - lowest < _LITTLE * (bounds[1] - bounds[0])


def _fix_range(statistics: ImageStatistics, bounds: Bounds) -> str:
    upper = bounds[1]
    if statistics.lowest >= 0 and 1.5 * upper < statistics.highest <= 255:
        return (
            "divide the images by 255, or declare bounds=(0, 255) with epsilon in these units "
            "(8, not 8/255)"
        )
    if statistics.lowest < 0 <= bounds[0]:
        return (
            f"the images look normalised (mean {statistics.average:.2f}, std "
            f"{statistics.deviation:.2f}): pass them as they were before, and give the mean and "
            "std as `normalize`; widening the bounds instead would change the unit of epsilon"
        )
    return "declare the model's own image range as bounds, or rescale the images to it"


def _observe_variety(statistics: ImageStatistics) -> Iterator[Observation]:
    count, constant = statistics.count, statistics.constant_images
    if count < _FEW_IMAGES:
        yield Observation(
            name="too-few-images",
            severity="warning",
            message=f"{count} images decide almost nothing: even if all survive, a 95 % interval "
            "starts below 0.7",
            fix="pass more images",
            evidence={"image_count": count},
        )
    if constant:
        everything = constant == count
        yield Observation(
            name="constant-images",
            severity="error" if everything and count > 1 else "note",
            message=f"{constant} of {count} images have one value in all pixels",
            fix="check what loads the images" if everything else "leave them out if unintended",
            evidence={"images": constant, "image_count": count},
        )
    if statistics.duplicate_images:
        share = statistics.duplicate_images / count
        yield Observation(
            name="duplicate-images",
            severity=_severity_of_duplicates(share),
            message=f"{statistics.duplicate_images} of {count} images repeat an earlier one: "
            "the interval counts each as an independent image",
            fix="pass every image once",
            evidence={"images": statistics.duplicate_images, "image_count": count},
        )


def _severity_of_duplicates(share: float) -> Severity:
    """An interval over images of which most are copies claims far more than was measured."""
    if share >= _MOSTLY_DUPLICATES:
        return "error"
    return "warning" if share >= _MANY_DUPLICATES else "note"
