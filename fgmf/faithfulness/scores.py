"""What a metric is asked, and what it gives back: values, checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import torch

from fgmf.canonical import row_digests
from fgmf.errors import InvalidInput, MetricFailed
from fgmf.verdict import Cost

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from fgmf.classifier import Classifier
    from fgmf.faithfulness.entries import MetricEntry
    from fgmf.parameters import Value
    from fgmf.types import Images, Labels

Engine: TypeAlias = Literal["own", "quantus"]
Explain: TypeAlias = "Callable[[Classifier, Images, Labels], torch.Tensor]"
"""Maps (n, h, w) for a classifier, images (n, c, h, w) and target classes (n,)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ExplainedImages:
    """Images with their maps.

    Attributes:
        images: (n, c, h, w) floating point on the CPU.
        targets: (n,) int64, the class that each map explains.
        maps: (n, h, w) floating point, finite.
        keys: One stable name per image; empty takes digests of the images.
        explain: How a map is made again; None where no metric needs that.
        regions: (n, h, w) bool, where the object is; None where no metric needs that.
    """

    images: Images
    targets: Labels
    maps: torch.Tensor
    keys: tuple[str, ...] = ()
    explain: Explain | None = None
    regions: torch.Tensor | None = None

    def __post_init__(self) -> None:
        """Check shapes and numbers, and give keys to images that have none.

        Raises:
            InvalidInput: Something has another shape than expected, or a map holds NaN or
                infinity; says which image.
        """
        if self.images.ndim != 4 or not len(self.images) or not self.images.is_floating_point():
            came = f"{self.images.dtype} {tuple(self.images.shape)}"
            message = f"expected images (n, c, h, w) in floating point with n >= 1, got {came}"
            raise InvalidInput(message)
        count, _, height, width = self.images.shape
        if tuple(self.targets.shape) != (count,):
            got = tuple(self.targets.shape)
            raise InvalidInput(f"expected targets of shape ({count},), got {got}")
        self._check_planes("maps", self.maps, (count, height, width))
        if self.regions is not None:
            self._check_planes("regions", self.regions, (count, height, width))
        bad = (~self.maps.flatten(1).isfinite().all(dim=1)).nonzero().flatten().tolist()
        if bad:
            raise InvalidInput(f"expected finite maps, got NaN or infinity for image {bad[0]}")
        keys = self.keys or tuple(row_digests(self.images))
        if len(keys) != count:
            raise InvalidInput(f"expected one key for each of {count} images, got {len(keys)}")
        object.__setattr__(self, "keys", keys)

    def check_defined(self, entry: MetricEntry) -> None:
        """Refuse maps that a metric has no score for.

        Raises:
            MetricFailed: A map is zero everywhere, or constant; says which image.
        """
        flat = self.maps.flatten(1)
        problems = {
            "never": torch.zeros(len(flat), dtype=torch.bool),
            "zero": (flat == 0).all(dim=1),
            "constant": flat.amax(dim=1) == flat.amin(dim=1),
        }
        bad = problems[entry.undefined].nonzero().flatten().tolist()
        if bad:
            what = "only zeros" if entry.undefined == "zero" else "the same value everywhere"
            message = (
                f"expected maps that {entry.name} has a score for, got {what} for image {bad[0]}"
                f" ({len(bad)} of {len(flat)} images)"
            )
            raise MetricFailed(message)

    @staticmethod
    def _check_planes(name: str, planes: torch.Tensor, shape: tuple[int, ...]) -> None:
        if tuple(planes.shape) == shape:
            return
        where = ""
        if planes.ndim and len(planes) != shape[0]:
            where = f"; the first image without one is {min(len(planes), shape[0])}"
        raise InvalidInput(f"expected {name} of shape {shape}, got {tuple(planes.shape)}{where}")


@dataclass(frozen=True, kw_only=True)
class MetricPlan:
    """A metric with what it is asked for.

    Attributes:
        metric: Name in the catalogue.
        parameters: Values by name; the others take their defaults.
        replacement: Of removed pixels; None takes the metric's own.
        engine: `quantus` hands even those metrics to Quantus that our own evaluation has.
    """

    metric: str
    parameters: Mapping[str, Value] = field(default_factory=dict)
    replacement: str | None = None
    engine: Literal["auto", "own", "quantus"] = "auto"

    @property
    def label(self) -> str:
        """Name in reports, such as ``pixel-flipping (blur)``."""
        return self.metric if self.replacement is None else f"{self.metric} ({self.replacement})"


@dataclass(frozen=True, kw_only=True, eq=False)
class MetricScores:
    """Scores of one metric.

    Attributes:
        metric: Name in the catalogue.
        values: (n,) float64, finite: one per image; one per step where `scope` is ``step``.
        scope: What a score is about.
        higher_is_better: The direction in which maps get better.
        parameters: All of them.
        replacement: Of removed pixels; empty where nothing is removed.
        engine: Who computed them.
        seed: With the keys of the images it fixes all draws.
        curves: (n, steps) float64, the answers behind the scores, where there are such.
        scale: Lowest and highest value that a score can have; None where there are no bounds.
        undefined_steps: Steps without a score, where `scope` is ``step``.
        cost: Passes and seconds.
    """

    metric: str
    values: NDArray[np.float64]
    scope: str
    higher_is_better: bool
    parameters: Mapping[str, Value]
    replacement: str
    engine: Engine
    seed: int
    curves: NDArray[np.float64] | None = None
    scale: tuple[float, float] | None = None
    undefined_steps: int = 0
    cost: Cost = field(default_factory=Cost)

    def __post_init__(self) -> None:
        """Refuse anything but one finite number for each.

        Raises:
            MetricFailed: Another shape or type, or NaN or infinity; says which image.
        """
        shaped = isinstance(self.values, np.ndarray) and self.values.ndim == 1
        if not shaped or not self.values.size or self.values.dtype != np.float64:
            got = getattr(self.values, "shape", type(self.values).__name__)
            raise MetricFailed(f"expected one float64 score each of {self.metric}, got {got}")
        bad = np.flatnonzero(~np.isfinite(self.values))
        if bad.size:
            message = (
                f"expected finite scores of {self.metric}, got NaN or infinity for image "
                f"{bad[0]} ({bad.size} of {self.values.size})"
            )
            raise MetricFailed(message)
        self.values.setflags(write=False)

    def __repr__(self) -> str:
        """Without the scores, of which there may be thousands."""
        return (
            f"MetricScores(metric={self.metric!r}, n={self.values.size}, "
            f"mean={self.values.mean():.4g}, replacement={self.replacement!r}, "
            f"engine={self.engine!r}, seed={self.seed})"
        )
