"""What is asked of a measurement under corruptions, and what it gives back: values only."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch

    from fgmf.corruptions import CorruptionName, Severity
    from fgmf.types import Bounds, ImageFlags, Images, Labels, Population
    from fgmf.verdict import Cost


@dataclass(frozen=True, kw_only=True)
class CorruptionCell:
    """One corruption at one severity."""

    corruption: CorruptionName
    severity: Severity

    @property
    def label(self) -> str:
        """Name in reports, such as ``rotation 3``."""
        return f"{self.corruption} {self.severity}"


def plan_cells(
    corruptions: Sequence[CorruptionName], severities: Sequence[Severity]
) -> tuple[CorruptionCell, ...]:
    """Return every corruption at every severity, in the order of the lists."""
    pairs = product(corruptions, severities)
    return tuple(CorruptionCell(corruption=name, severity=severity) for name, severity in pairs)


@dataclass(frozen=True, kw_only=True)
class CorruptionPlan:
    """The question.

    Attributes:
        cells: What is done to each image, in this order.
        bounds: Lowest and highest valid pixel value.
        seed: Fixes every draw.
        deadline: Value of ``time.monotonic()`` after which measuring stops; None never.
        example_limit: How many corrupted images are kept as evidence.
        expect_steady: Measure the clean logits again at the end and demand that they are the same.
        on_progress: Called with the images times cells done and in all, and the cell.
    """

    cells: tuple[CorruptionCell, ...]
    bounds: Bounds
    seed: int
    deadline: float | None = None
    example_limit: int = 64
    expect_steady: bool = True
    on_progress: Callable[[int, int, str], None] | None = None


@dataclass(frozen=True, kw_only=True)
class CorruptedExample:
    """A corrupted image that the model gets wrong, in a fresh pass, too.

    Attributes:
        position: Which of the measured images.
        image: (c, h, w) the corrupted image, inside the bounds.
        predicted: The class that the model gives it.
        attack: Label of the cell, such as ``rotation 3``.
    """

    position: int
    image: Images
    predicted: int
    attack: str


@dataclass(frozen=True, kw_only=True)
class CorruptionMeasurement:
    """The answer, image by image.

    Attributes:
        labels: (n,) true classes.
        clean_correct: (n,) right without a corruption.
        cells: What was to be done to each image.
        right: (cells, n) right under the corruption; only where `measured` holds.
        measured: (cells, n) False where time ran out or the model failed.
        failures: By position, the first cell that the model failed on, and why.
        examples: Up to the plan's limit, evenly spaced over the broken images.
        verified: Images that a corruption broke, in a fresh pass, too.
        unverified: Positions of those that were right in a fresh pass; they count as broken.
        cost: Passes and seconds.
    """

    labels: Labels
    clean_correct: ImageFlags
    cells: tuple[CorruptionCell, ...]
    right: torch.Tensor
    measured: torch.Tensor
    failures: Mapping[int, tuple[str, str]]
    examples: tuple[CorruptedExample, ...]
    verified: int
    unverified: tuple[int, ...]
    cost: Cost

    @property
    def broken(self) -> ImageFlags:
        """(n,) wrong without a corruption, or under any of them."""
        return ~self.clean_correct | (self.measured & ~self.right).any(dim=0)

    @property
    def good(self) -> ImageFlags:
        """(n,) nothing broke it; an upper bound where `undecided` or `failed` holds."""
        return ~self.broken

    @property
    def failed(self) -> ImageFlags:
        """(n,) not broken, but the model failed on a corruption of it."""
        failed = self.broken.new_zeros(len(self.labels))
        failed[list(self.failures)] = True
        return failed & ~self.broken

    @property
    def undecided(self) -> ImageFlags:
        """(n,) neither broken nor through every cell, because time ran out."""
        return ~self.measured.all(dim=0) & ~self.broken & ~self.failed

    @property
    def certain(self) -> bool:
        """True if every image is decided, as broken or as good."""
        return not bool((self.undecided | self.failed).any())

    @property
    def complete(self) -> bool:
        """True if every image was measured under every corruption."""
        return bool(self.measured.all())


@dataclass(frozen=True, kw_only=True)
class CorruptionThresholds:
    """What the measurement is held against.

    Attributes:
        corruption_accuracy: Lowest accepted share of images that nothing breaks.
        mean_corruption_accuracy: Lowest accepted mean over the cells; None asks nothing.
        clean_accuracy: Lowest accepted clean accuracy; None asks nothing.
        confidence: Of every interval.
        population: What the intervals are about.
        dataset_size: Images that the sample was drawn from.
    """

    corruption_accuracy: float
    mean_corruption_accuracy: float | None = None
    clean_accuracy: float | None = None
    confidence: float = 0.95
    population: Population = "distribution"
    dataset_size: int = 0
