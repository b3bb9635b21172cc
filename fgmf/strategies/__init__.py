"""Hypothesis strategies for tests of image models, and a search for what breaks them.

    images, threat_models, small_models, mask_logs      values to test with
    perturbations, brightness_shifts, contrast_losses,
    rotations, corruptions                              changes of images (`ImageChange`)
    assert_invariant                                    a classifier keeps its classes under them

Needs Hypothesis (``pip install 'pytest-fgmf[hypothesis]'``); nothing else of the library loads it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fgmf.strategies.changes import ImageChange
    from fgmf.strategies.drawing import (
        brightness_shifts,
        contrast_losses,
        corruptions,
        perturbations,
        rotations,
    )
    from fgmf.strategies.invariance import (
        Counterexample,
        InvarianceFailure,
        InvarianceResult,
        assert_invariant,
    )
    from fgmf.strategies.logs import MaskLogPlan, mask_logs
    from fgmf.strategies.values import images, small_models, threat_models

_HOMES = {
    "ImageChange": "changes",
    "brightness_shifts": "drawing",
    "contrast_losses": "drawing",
    "corruptions": "drawing",
    "perturbations": "drawing",
    "rotations": "drawing",
    "Counterexample": "invariance",
    "InvarianceFailure": "invariance",
    "InvarianceResult": "invariance",
    "assert_invariant": "invariance",
    "MaskLogPlan": "logs",
    "mask_logs": "logs",
    "images": "values",
    "small_models": "values",
    "threat_models": "values",
}

__all__ = [
    "Counterexample",
    "ImageChange",
    "InvarianceFailure",
    "InvarianceResult",
    "MaskLogPlan",
    "assert_invariant",
    "brightness_shifts",
    "contrast_losses",
    "corruptions",
    "images",
    "mask_logs",
    "perturbations",
    "rotations",
    "small_models",
    "threat_models",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    if name not in _HOMES:
        raise AttributeError(f"module 'fgmf.strategies' has no attribute {name!r}")
    try:
        return getattr(import_module(f"fgmf.strategies.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        from fgmf.errors import MissingDependency

        message = "fgmf.strategies needs Hypothesis; pip install 'pytest-fgmf[hypothesis]'"
        raise MissingDependency(message) from None
