"""What a measurement was about, image by image, so that a later one can be held against it.

Two parts of a verdict's evidence, in one form for every kind of gate that judges images:
`images` (which images, and how each ended) and `configuration` (everything that changes how
images end). No torch here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fgmf.gates.specification import GateSpecification
    from fgmf.types import Json

ROBUST: Final = "r"
BROKEN: Final = "b"
WRONG: Final = "w"
UNDECIDED: Final = "u"
FAILED: Final = "f"
OUTCOMES: Final = ROBUST + BROKEN + WRONG + UNDECIDED + FAILED
"""Letters of an image: robust, broken by an attack, wrong without one, undecided, failed."""

KEY_DIGITS: Final = 16
"""Hexadecimal digits of an image's content digest that name it."""

NOT_MEASURED: Final = frozenset(
    {
        "confidence",
        "explain_broken",
        "inconclusive",
        "max_seconds",
        "model",
        "name",
        "pictures",
        "profiles",
        "required",
        "save_failures",
        "seed",
        "waive",
    }
)
"""Fields of a gate that name or judge it; thresholds (`min_…`) do not change it either."""


def image_evidence(
    *, indices: Sequence[int], keys: Sequence[str], labels: Sequence[int], outcomes: str
) -> dict[str, Json]:
    """Return the evidence `images` of a verdict.

    Args:
        indices: n positions in the user's data set.
        keys: n content digests, ``sha256:<hex>``.
        labels: n true classes.
        outcomes: n letters of `OUTCOMES`.
    """
    return {
        "indices": list(indices),
        "keys": [key.rpartition(":")[2][:KEY_DIGITS] for key in keys],
        "labels": list(labels),
        "outcomes": outcomes,
    }


def configuration_of(gate: GateSpecification, resolved: Mapping[str, Json]) -> dict[str, Json]:
    """Return the evidence `configuration` of a verdict.

    Every field of a gate counts that is not known to leave the images' ends alone, so that a
    field of a later version is never overlooked.

    Args:
        gate: Its fields, but for names, thresholds and budgets; unset ones (None) are left out.
        resolved: What the run made of some fields, in their place: defaults filled in, and text
            turned into numbers.
    """
    written: dict[str, Json] = gate.model_dump(mode="json", exclude_none=True)
    kept = {
        key: value
        for key, value in written.items()
        if key not in NOT_MEASURED and not key.startswith("min_")
    }
    return {**kept, **resolved}
