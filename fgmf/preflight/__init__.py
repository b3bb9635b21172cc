"""Preflight: named findings about how a model and its data are used, before any gate.

`data`, `labels` and `scale` look at what the user passed; `outputs`, `gradients`,
`consistency`, `behaviour` and `normalisation` at how the model answers on a few images;
`policy` names every finding and decides how much it weighs for which kind of gate; `inspection`
runs them all.

Importing the package imports no torch: names can be checked while a gate file is read.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fgmf.preflight.policy import FINDINGS, FindingKind, blocking, check_waived, forbidding

if TYPE_CHECKING:
    from fgmf.preflight.inspection import inspect

__all__ = ["FINDINGS", "FindingKind", "blocking", "check_waived", "forbidding", "inspect"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    if name == "inspect":
        return import_module("fgmf.preflight.inspection").inspect
    raise AttributeError(f"module 'fgmf.preflight' has no attribute {name!r}")
