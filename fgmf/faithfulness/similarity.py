"""How alike two maps of one image are: 1 for the same, 0 for unrelated ones.

cosine:    of the angle between them; sees signs and sizes
spearman:  correlation of ranks; sees the order of pixels alone
ssim:      structural similarity (Wang et al., 2004) of windows; sees where they differ; both maps
           are shifted by their common minimum first, for it is made for light: of signed maps it
           calls opposite ones alike, where means and covariance of a window are both negative
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np
import torch
from torch.nn import functional

from fgmf.errors import InvalidInput, MetricFailed
from fgmf.faithfulness.subsets import pearson_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Similarity: TypeAlias = Literal["cosine", "spearman", "ssim"]

SIMILARITY_SCALE: Final = (-1.0, 1.0)
"""Lowest and highest similarity that two maps can have."""

_WINDOW = 7
_LUMINANCE, _CONTRAST = 0.01, 0.03


def map_similarity(kind: str, one: torch.Tensor, other: torch.Tensor) -> Floats:
    """Compare maps, image by image.

    Args:
        kind: ``cosine``, ``spearman`` or ``ssim``.
        one: (n, h, w) finite.
        other: (n, h, w) finite.

    Returns:
        (n,) float64, from -1 to 1.

    Raises:
        InvalidInput: Another kind or shape, or maps too small for a window of SSIM (7 pixels).
        MetricFailed: A map that has no direction (zeros) or no order (constant); says which.
    """
    if kind not in _COMPARISONS:
        raise InvalidInput(f"expected cosine, spearman or ssim, got {kind!r}")
    if one.shape != other.shape or one.ndim != 3:
        got = f"{tuple(one.shape)} and {tuple(other.shape)}"
        raise InvalidInput(f"expected two times maps (n, h, w), got {got}")
    similarity = _COMPARISONS[kind](one.detach().cpu().double(), other.detach().cpu().double())
    bad = np.flatnonzero(~np.isfinite(similarity))
    if bad.size:
        message = (
            f"expected maps that can be compared by {kind}, got one that is the same everywhere "
            f"or not finite for image {bad[0]} ({bad.size} of {similarity.size} images)"
        )
        raise MetricFailed(message)
    return similarity.clip(*SIMILARITY_SCALE)  # rounding alone leaves it


def _cosine(one: torch.Tensor, other: torch.Tensor) -> Floats:
    first, second = one.flatten(1), other.flatten(1)
    first = first / first.abs().amax(dim=1, keepdim=True)
    second = second / second.abs().amax(dim=1, keepdim=True)
    found: Floats = ((first * second).sum(dim=1) / (first.norm(dim=1) * second.norm(dim=1))).numpy()
    return found


def _spearman(one: torch.Tensor, other: torch.Tensor) -> Floats:
    from scipy.stats import rankdata

    first, second = (rankdata(maps.flatten(1).numpy(), axis=1) for maps in (one, other))
    return pearson_rows(first, second)


def _ssim(one: torch.Tensor, other: torch.Tensor) -> Floats:
    """Mean over windows of 7x7, unbiased variances, constants by the range of both maps.

    As `skimage.metrics.structural_similarity` with its defaults, of shifted maps.
    """
    if min(one.shape[-2:]) < _WINDOW:
        size = tuple(one.shape[-2:])
        raise InvalidInput(f"expected maps of at least 7x7 pixels for ssim, got {size}")
    both = torch.cat([one.flatten(1), other.flatten(1)], dim=1)
    lowest = both.amin(dim=1)
    span = both.amax(dim=1) - lowest
    one, other = one - lowest[:, None, None], other - lowest[:, None, None]
    constants = [((k * span) ** 2)[:, None, None] for k in (_LUMINANCE, _CONTRAST)]

    def mean(maps: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(maps[:, None], _WINDOW, stride=1)[:, 0]

    pixels = _WINDOW**2
    unbiased = pixels / (pixels - 1)
    mine, its = mean(one), mean(other)
    variance = unbiased * (mean(one * one) - mine**2), unbiased * (mean(other**2) - its**2)
    covariance = unbiased * (mean(one * other) - mine * its)
    top = (2 * mine * its + constants[0]) * (2 * covariance + constants[1])
    bottom = (mine**2 + its**2 + constants[0]) * (sum(variance) + constants[1])
    found: Floats = (top / bottom).flatten(1).mean(dim=1).numpy()
    return found


_COMPARISONS: dict[str, Callable[[torch.Tensor, torch.Tensor], Floats]] = {
    "cosine": _cosine,
    "spearman": _spearman,
    "ssim": _ssim,
}
