"""What can stand in the place of removed pixels: names and plain data.

No explanation is faithful as such, only under a replacement: a method that removes pixels by
zeros does well where the metric does, too. Report at least two. `replacing` carries them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

ReplacementName: TypeAlias = Literal[
    "zero", "mean", "blur", "noise", "inpainting", "other-image", "uniform", "black", "white"
]


@dataclass(frozen=True, kw_only=True)
class ReplacementEntry:
    """One way to remove pixels.

    Attributes:
        name: Name in gate files and reports.
        meaning: What stands in the place of the pixels.
        draws: True if another seed gives another replacement.
        fixed: True if a pixel's replacement does not depend on which others are removed.
    """

    name: ReplacementName
    meaning: str
    draws: bool = False
    fixed: bool = True


_ENTRIES: Final = (
    ReplacementEntry(name="zero", meaning="the value 0, or the bound next to it"),
    ReplacementEntry(name="mean", meaning="the mean of the image"),
    ReplacementEntry(
        name="blur", meaning="the image blurred by a Gaussian of a tenth of its longer side"
    ),
    ReplacementEntry(
        name="noise",
        meaning="Gaussian noise with the image's mean and deviation, inside the bounds",
        draws=True,
    ),
    ReplacementEntry(
        name="inpainting", meaning="what the remaining pixels around suggest", fixed=False
    ),
    ReplacementEntry(
        name="other-image", meaning="the same pixels of another image of the set", draws=True
    ),
    ReplacementEntry(
        name="uniform", meaning="one value for each image, anywhere in the bounds", draws=True
    ),
    ReplacementEntry(name="black", meaning="the smallest value of the image"),
    ReplacementEntry(name="white", meaning="the largest value of the image"),
)

REPLACEMENTS: Final[Mapping[str, ReplacementEntry]] = MappingProxyType(
    {entry.name: entry for entry in _ENTRIES}
)
"""Every replacement by name."""
