"""What is given to Quantus where its own parts mix images, fail, or can't be repeated.

Nothing of Quantus is imported or changed here: these are arguments that its classes take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fgmf.faithfulness.replacing import make_fill
from fgmf.faithfulness.subsets import pearson_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fgmf.faithfulness.task import MetricTask
    from fgmf.types import Bounds

    Floats = NDArray[np.float64]


class Removal:
    """Replace features by their positions: a `perturb_func` of batches.

    Args:
        task: Holds the replacement.
        part: Which images the batch holds.
        again: Draw the replacement anew in each call.
    """

    def __init__(self, task: MetricTask, part: slice, *, again: bool = False) -> None:
        self._task, self._part, self._again, self._calls = task, part, again, 0
        self._substitutes = self._drawn(0)

    def __call__(self, arr: Floats, indices: NDArray[np.int64], **_: object) -> Floats:
        """Replace `indices` (n, k) of `arr` (n, features)."""
        if self._again:
            self._substitutes = self._drawn(self._calls)
            self._calls += 1
        rows = np.arange(len(arr))[:, None]
        changed = arr.copy()
        changed[rows, indices] = self._substitutes[rows, indices]
        return changed

    def _drawn(self, draw: int) -> Floats:
        task, fill = self._task, self._task.fill
        if fill is None:
            raise TypeError(f"{task.entry.name} removes pixels, so it takes a replacement")
        if draw:
            fill = make_fill(
                fill.name,
                fill.images[self._part],
                bounds=task.classifier.bounds,
                keys=task.explained.keys[self._part],
                seed=task.seed,
                draw=draw,
            )
        substitutes = fill.substitutes if draw else _fixed(fill.substitutes)[self._part]
        return self._arranged(_fixed(substitutes).double().numpy())

    def _arranged(self, substitutes: Floats) -> Floats:
        return substitutes.reshape(len(substitutes), -1)


class PaddedRemoval(Removal):
    """The same where positions are those of an image that was padded to whole patches.

    Quantus gives some metrics the unpadded array with them: it is padded first.

    Args:
        task: Holds the replacement and the size of a patch.
        part: Which images the batch holds.
    """

    def __init__(self, task: MetricTask, part: slice) -> None:
        self._shape = tuple(task.explained.images.shape[1:])
        size = task.number("patch_size")
        self._padding = [(0, 0), (0, 0)]
        for side in self._shape[1:]:
            over = -side % size
            self._padding.append((over // 2, over - over // 2))
        super().__init__(task, part)

    def __call__(self, arr: Floats, indices: NDArray[np.int64], **_: object) -> Floats:
        """Replace `indices` (n, k) of the padded `arr`."""
        if arr.shape[1] != self._substitutes.shape[1]:
            arr = self._arranged(arr.reshape(len(arr), *self._shape))
        return super().__call__(arr, indices)

    def _arranged(self, substitutes: Floats) -> Floats:
        return super()._arranged(np.pad(substitutes, self._padding, mode="edge"))


class WholeRemoval(Removal):
    """Replace everything, whichever positions are named: those of one channel may be."""

    def __call__(self, arr: Floats, indices: NDArray[np.int64], **_: object) -> Floats:  # noqa: ARG002 - all go
        """Return the replacement itself."""
        return self._substitutes.reshape(arr.shape).copy()


class SegmentRemoval:
    """Replace segments of one image, whatever its channels; the mean is that of the moment.

    Args:
        task: Holds the replacement.
        part: Which image.
    """

    def __init__(self, task: MetricTask, part: slice) -> None:
        fill = task.fill
        if fill is None:
            raise TypeError(f"{task.entry.name} removes pixels, so it takes a replacement")
        self._mean = fill.name == "mean"
        self._substitutes = _fixed(fill.substitutes)[part].double().numpy()

    def __call__(self, arr: Floats, mask: NDArray[np.bool_], **_: object) -> Floats:
        """Replace where `mask` (1, 1, h, w) holds."""
        value = arr.mean() if self._mean else self._substitutes
        changed: Floats = np.where(mask, value, arr)
        return changed


class _Noise:
    """Noise on every feature, each image from its own stream, inside the bounds.

    Args:
        generators: One per image of the batch.
        bounds: Lowest and highest valid pixel value.
    """

    def __init__(self, generators: Sequence[np.random.Generator], bounds: Bounds) -> None:
        self._generators, self._bounds = generators, bounds

    def _added(self, arr: Floats, draw: Callable[[np.random.Generator, int], Floats]) -> Floats:
        drawn = np.stack([draw(generator, arr.shape[1]) for generator in self._generators])
        return np.clip(arr + drawn, *self._bounds)


class UniformNoise(_Noise):
    """Uniform noise: around zero, or between two values where there is an upper one."""

    def __call__(
        self,
        arr: Floats,
        lower_bound: float = 0.02,
        upper_bound: float | None = None,
        **_: object,
    ) -> Floats:
        """Add to all of `arr` (n, features)."""
        low, high = (
            (-lower_bound, lower_bound) if upper_bound is None else (lower_bound, upper_bound)
        )
        return self._added(arr, lambda generator, size: generator.uniform(low, high, size))


class NormalNoise(_Noise):
    """Gaussian noise."""

    def __call__(
        self, arr: Floats, perturb_mean: float = 0.0, perturb_std: float = 0.01, **_: object
    ) -> Floats:
        """Add to all of `arr` (n, features)."""
        return self._added(
            arr, lambda generator, size: generator.normal(perturb_mean, perturb_std, size)
        )


class Imputation:
    """Impute the most important pixels of one image after the other; called per image.

    Positions that come are those of features; here the same number of pixels goes, in all
    channels, for the imputation knows pixels alone.

    Args:
        impute: Quantus' linear imputation.
        maps: (n, pixels) of the batch.
        generators: One per image.
        deviation: Of the noise that is added.
    """

    def __init__(
        self,
        impute: Callable[..., Floats],
        maps: Floats,
        generators: Sequence[np.random.Generator],
        deviation: float,
    ) -> None:
        self._impute, self._deviation, self._calls = impute, deviation, 0
        self._generators = generators
        self._order = np.argsort(-maps, axis=1, kind="stable")

    def __call__(self, arr: Floats, indices: NDArray[np.int64], **_: object) -> Floats:
        """Impute as many pixels of `arr` (c, h, w) as there are `indices`."""
        row = self._calls % len(self._order)
        self._calls += 1
        if not len(indices):
            return arr.copy()
        chosen = self._order[row, : len(indices)]
        flat = self._impute(arr=arr, indices=chosen, noise=0.0).reshape(len(arr), -1)
        drawn = self._generators[row].standard_normal((len(arr), len(chosen)))
        flat[:, chosen] += self._deviation * drawn
        return flat.reshape(arr.shape)


class MapSimilarity:
    """Compare maps row by row, in their own shape.

    Args:
        kind: ``spearman`` or ``ssim``.
        shape: (h, w) of a map.
        structural: Quantus' SSIM of two maps (h, w).
    """

    def __init__(self, kind: str, shape: tuple[int, int], structural: Callable[..., float]) -> None:
        self._kind, self._shape, self._structural = kind, shape, structural

    def __call__(self, a: Floats, b: Floats, **_: object) -> Floats:
        """Similarity of each row (n, pixels) of one to that of the other."""
        if self._kind == "spearman":
            return pearson_rows(_ranked(a), _ranked(b))
        pairs = zip(a.reshape(-1, *self._shape), b.reshape(-1, *self._shape), strict=True)
        return np.array([self._structural(one, other) for one, other in pairs], dtype=np.float64)


class Near:
    """A number for each image that equals what lies within a tolerance of it.

    Args:
        values: (n,).
        tolerance: Relative to the larger of 1 and the value.
    """

    __array_ufunc__ = None  # so that numpy asks us
    __hash__ = None  # type: ignore[assignment] # no key of anything

    def __init__(self, values: Floats, tolerance: float) -> None:
        self._values, self._tolerance = values, tolerance

    def __eq__(self, other: object) -> Any:  # noqa: ANN401 - an array, as numpy's own
        """Which numbers are near."""
        gap = np.abs(np.asarray(other) - self._values)
        return gap <= self._tolerance * np.maximum(1.0, np.abs(self._values))


def standardised_distance(maps: Floats) -> Callable[..., float]:
    """Return the standardised Euclidean distance of maps (n, pixels).

    Pixels that all maps agree on say nothing and count as nothing; dividing by their deviation
    makes every distance NaN.
    """
    variance = np.abs(maps).var(axis=0)
    weights = np.where(variance > 0, 1.0 / np.where(variance > 0, variance, 1.0), 0.0)

    def distance(one: Floats, other: Floats, V: object = None) -> float:  # noqa: N803, ARG001 - SciPy's name
        return float(np.sqrt((weights * (one - other) ** 2).sum()))

    return distance


def _ranked(values: Floats) -> Floats:
    from scipy.stats import rankdata

    ranks: Floats = rankdata(values, axis=1)
    return ranks


def _fixed(substitutes: Any) -> Any:  # noqa: ANN401 - a tensor or None
    if substitutes is None:
        raise TypeError("inpainting depends on all removed pixels, so Quantus cannot be given it")
    return substitutes
