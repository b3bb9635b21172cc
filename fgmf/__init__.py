"""FGMF: gates on robustness, gradient masking and explanations for PyTorch models.

Importing the package costs nothing: every public name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fgmf import datasets, gates
    from fgmf.classifier import Classifier, Normalization
    from fgmf.errors import FgmfError, GateError, GateFailure, GateInconclusive
    from fgmf.threat import ThreatModel
    from fgmf.verdict import Cost, Finding, Interval, Outcome, Verdict

__version__ = "0.1.0"

_HOMES = {
    "Classifier": "fgmf.classifier",
    "Normalization": "fgmf.classifier",
    "FgmfError": "fgmf.errors",
    "GateError": "fgmf.errors",
    "GateFailure": "fgmf.errors",
    "GateInconclusive": "fgmf.errors",
    "ThreatModel": "fgmf.threat",
    "Cost": "fgmf.verdict",
    "Finding": "fgmf.verdict",
    "Interval": "fgmf.verdict",
    "Outcome": "fgmf.verdict",
    "Verdict": "fgmf.verdict",
}
_SUBMODULES = ("datasets", "gates")

__all__ = [
    "Classifier",
    "Cost",
    "FgmfError",
    "Finding",
    "GateError",
    "GateFailure",
    "GateInconclusive",
    "Interval",
    "Normalization",
    "Outcome",
    "ThreatModel",
    "Verdict",
    "__version__",
    "datasets",
    "gates",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _SUBMODULES:
        return import_module(f"fgmf.{name}")
    raise AttributeError(f"module 'fgmf' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
