"""Attacks whose examples come from elsewhere than the gated model: plain data.

They ask the model for nothing but its answer to an example, so they need no gradient of it. What
they do need beside the model is in `fgmf.attacks.sources`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fgmf.attacks.entries import CatalogueEntry, Parameter

if TYPE_CHECKING:
    from fgmf.types import Norm

_ALL: tuple[Norm, ...] = ("linf", "l2", "l1")
TRANSFER: Final = "transfer"
KNOWN: Final = "known-examples"
TRAINED: Final = "train"
"""The surrogate that is trained for the gate; any other name is that of a ``[[model]]``."""

OUTSIDE_ENTRIES = (
    CatalogueEntry(
        name=TRANSFER,
        title="transfer",
        engine="outside",
        made_for=_ALL,
        needs_gradient=False,
        parameters={
            "surrogate": Parameter(
                default=TRAINED, meaning="`train`, or the name of another [[model]]"
            ),
            "steps": Parameter(default=50, lowest=1, meaning="iterations on the surrogate"),
            "random_start": Parameter(default=True, meaning="start at a random point of the ball"),
        },
    ),
    CatalogueEntry(
        name=KNOWN,
        title="known examples",
        engine="outside",
        made_for=_ALL,
        needs_gradient=False,
        random=False,
        parameters={
            "path": Parameter(
                default="known-examples",
                meaning="directory of saved evidence, relative to the gate file's",
            ),
        },
    ),
)
