"""Common corruptions: what happens to images without an adversary.

`catalogue` is plain data: names, severities, sources. `applying` takes a name to the function
that does it, in `noise`, `blur`, `tone`, `geometry` and `coding`. Importing this package loads no
torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from fgmf.corruptions.catalogue import (
    CORRUPTIONS,
    DEFAULT_CORRUPTIONS,
    SEVERITIES,
    CorruptionEntry,
    CorruptionName,
    Severity,
)

if TYPE_CHECKING:
    from fgmf.corruptions.applying import corrupt

__all__ = [
    "CORRUPTIONS",
    "DEFAULT_CORRUPTIONS",
    "SEVERITIES",
    "CorruptionEntry",
    "CorruptionName",
    "Severity",
    "corrupt",
]


def __getattr__(name: str) -> object:
    if name == "corrupt":
        return import_module("fgmf.corruptions.applying").corrupt
    raise AttributeError(f"module 'fgmf.corruptions' has no attribute {name!r}")
