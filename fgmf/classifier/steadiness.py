"""Clean logits must be numbers, and the same ones whenever one looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.errors import ModelStateChanged, NonFiniteOutput

if TYPE_CHECKING:
    from fgmf.types import Logits

_STEADY = 1e-5
"""Share of the logits' spread that clean logits may move between two equal passes."""


def refuse_nonfinite(logits: Logits) -> Logits:
    """Return the clean logits of a sample as they are.

    Args:
        logits: (n, classes).

    Raises:
        NonFiniteOutput: Some are NaN or infinite.
    """
    bad = (~logits.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if bad:
        message = (
            f"expected finite logits, got NaN or infinite values for {len(bad)} of "
            f"{len(logits)} images (first: image {bad[0]} of the sample)"
        )
        raise NonFiniteOutput(message)
    return logits


def refuse_moved(before: Logits, after: Logits, *, during: str) -> None:
    """Compare clean logits from before and after a measurement.

    Args:
        before: (n, classes) finite.
        after: Likewise, of the same images.
        during: What lay between, such as ``the attacks``.

    Raises:
        ModelStateChanged: They differ by more than rounding.
    """
    spread = (before.amax(dim=1) - before.amin(dim=1)).clamp_min(1e-30)
    moved = ~((after - before).abs().amax(dim=1) <= _STEADY * spread)
    if bool(moved.any()):
        message = (
            f"expected the same logits for clean images before and after {during}, but they "
            f"changed for {int(moved.sum())} of {len(moved)} images: the model depends on "
            "something else than its input; remove that, or judge it with the "
            "gradient-masking gate"
        )
        raise ModelStateChanged(message)
