r"""What changed between two measurements of the same images.

before \ now       robust          not robust
robust             stayed robust   newly broken
not robust         newly fixed     stayed broken

difference = (newly fixed - newly broken) / images
An image that one side did not decide is counted both ways: `worst` and `best` are the two ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from fgmf.errors import InvalidInput
from fgmf.gates.identity import FAILED, ROBUST, UNDECIDED
from fgmf.statistics import mcnemar_exact
from fgmf.verdict import Interval

if TYPE_CHECKING:
    from fgmf.baselines.contents import ImageOutcomes

CONFIDENCE = 0.95
_UNSURE = frozenset({UNDECIDED, FAILED})
_HALVINGS = 80


@dataclass(frozen=True, kw_only=True)
class PairedCounts:
    """A fourfold table of n images, measured twice."""

    stayed_robust: int
    newly_broken: int
    newly_fixed: int
    stayed_broken: int

    @property
    def images(self) -> int:
        """How many images there are."""
        return self.stayed_robust + self.newly_broken + self.newly_fixed + self.stayed_broken

    @property
    def robust_before(self) -> int:
        """Images that were robust."""
        return self.stayed_robust + self.newly_broken

    @property
    def robust_now(self) -> int:
        """Images that are robust."""
        return self.stayed_robust + self.newly_fixed

    @property
    def lost(self) -> int:
        """Robust images lost, net; negative where some were won."""
        return self.newly_broken - self.newly_fixed

    @property
    def difference(self) -> float:
        """Robust accuracy now minus before."""
        return -self.lost / self.images


@dataclass(frozen=True, kw_only=True)
class PairedChange:
    """The change on the images that both sides measured.

    Attributes:
        worst: Counts if every unsure image was robust before and is broken now.
        best: Counts if every unsure image was broken before and is robust now.
        unsure: Images that a side did not decide; 0 means that `worst` is `best`.
        only_before: Images that only the first side measured.
        only_now: Images that only the second side measured.
    """

    worst: PairedCounts
    best: PairedCounts
    unsure: int
    only_before: int
    only_now: int


def pair_outcomes(before: ImageOutcomes, now: ImageOutcomes) -> PairedChange:
    """Pair images by content and label.

    Args:
        before: The baseline's images.
        now: This run's images.

    Raises:
        InvalidInput: They have no image in common.
    """
    earlier = dict(zip(before.ids, before.outcomes, strict=True))
    later = dict(zip(now.ids, now.outcomes, strict=True))
    common = [(earlier[key], later[key]) for key in earlier if key in later]
    if not common:
        raise InvalidInput("expected images that both measured, got none in common")
    return PairedChange(
        worst=_counted(common, before=True, now=False),
        best=_counted(common, before=False, now=True),
        unsure=sum(not _UNSURE.isdisjoint(pair) for pair in common),
        only_before=len(earlier) - len(common),
        only_now=len(later) - len(common),
    )


def regression_p_value(newly_broken: int, newly_fixed: int) -> float:
    """Return the one-sided p-value of a loss.

    Args:
        newly_broken: Images that were robust before and are not now.
        newly_fixed: Images that were not robust before and are now.

    Returns:
        Probability of at least as many broken among the changed images, if a changed image
        were as likely to be fixed as to break; 1.0 where no image changed.

    Raises:
        InvalidInput: A count is negative or no whole number.

    Source: McNemar (1947), exact binomial form, upper tail.
    """
    from scipy.stats import binom

    mcnemar_exact(newly_broken, newly_fixed)  # refuses what is no count
    return min(1.0, float(binom.sf(newly_broken - 1, newly_broken + newly_fixed, 0.5)))


def difference_interval(counts: PairedCounts, *, confidence: float = CONFIDENCE) -> Interval:
    """Return the interval of the difference in robust accuracy, now minus before.

    It is about the distribution behind the images, and asymptotic: unlike every other interval
    of this library it covers about, not at least, `confidence`. No verdict rests on it.

    Args:
        counts: At least one image.
        confidence: Coverage asked for, between 0 and 1.

    Raises:
        InvalidInput: No images, or a confidence outside (0, 1).

    Source: Tango (1998), Statistics in Medicine 17:891-908: the score test of each difference,
        with the nuisance parameter at its restricted maximum likelihood, inverted by bisection.
    """
    if counts.images < 1 or not 0.0 < confidence < 1.0:
        message = "expected at least one image and a confidence between 0 and 1"
        raise InvalidInput(f"{message}, got {counts.images} and {confidence!r}")
    limit = NormalDist().inv_cdf((1.0 + confidence) / 2.0)
    return Interval(
        lower=_crossing(counts, limit),
        upper=_crossing(counts, -limit),
        confidence=confidence,
        method="Tango score",
    )


def _counted(pairs: list[tuple[str, str]], *, before: bool, now: bool) -> PairedCounts:
    """Count pairs; an unsure letter is robust or not as `before` and `now` say."""
    cells = [0, 0, 0, 0]
    for earlier, later in pairs:
        was = before if earlier in _UNSURE else earlier == ROBUST
        is_now = now if later in _UNSURE else later == ROBUST
        cells[2 * (not was) + (not is_now)] += 1
    return PairedCounts(
        stayed_robust=cells[0], newly_broken=cells[1], newly_fixed=cells[2], stayed_broken=cells[3]
    )


def _crossing(counts: PairedCounts, limit: float) -> float:
    """Return the difference at which the score, which falls, is `limit`."""
    low, high = -1.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if _score(counts, middle) > limit:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def _score(counts: PairedCounts, difference: float) -> float:
    """Tango's statistic: how far the counts are above what `difference` lets expect."""
    n, fixed, broken = counts.images, counts.newly_fixed, counts.newly_broken
    above = fixed - broken - n * difference
    a = 2.0 * n
    b = -fixed - broken + (2.0 * n - fixed + broken) * difference
    c = -broken * difference * (1.0 - difference)
    nuisance = max(0.0, (math.sqrt(max(0.0, b * b - 4.0 * a * c)) - b) / (2.0 * a))
    variance = n * (2.0 * nuisance + difference * (1.0 - difference))
    if variance <= 0.0:
        return math.copysign(math.inf, above) if above else 0.0
    return above / math.sqrt(variance)
