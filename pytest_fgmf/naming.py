"""Names of gates that are written in tests: the same in every run, on every worker."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pytest

_LONGEST: Final = 120
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._=@/-]+")


def node_id(item: pytest.Item) -> str:
    """Return an item's node id without what other plugins append (xdist's groups)."""
    return item.nodeid if item.parent is None else f"{item.parent.nodeid}::{item.name}"


def gate_name_for(item: pytest.Item, *, occurrence: int) -> str:
    """Name a gate after the test that it is written in.

    Args:
        item: The test.
        occurrence: 1 for the first unnamed gate of the test, then 2, 3, and so on.

    Returns:
        A valid name of a gate. Where characters had to go or the name had to be cut, the
        digest of the node id keeps it unique.
    """
    whole = node_id(item).replace("::", "/").removesuffix("]").replace("[", "=")
    name = _NOT_IN_NAMES.sub("-", whole).strip("-./=@") or "test"
    suffix = f"@{occurrence}" if occurrence > 1 else ""
    if name != whole or len(name) + len(suffix) > _LONGEST:
        digest = hashlib.sha256(node_id(item).encode("utf-8", errors="replace")).hexdigest()
        suffix = f"@{digest[:8]}{suffix}"
        name = name[-(_LONGEST - len(suffix)) :].lstrip("-./=@_")
    return name + suffix


def marker_name(kind: str) -> str:
    """Return the marker of a kind of gate, such as ``gradient_masking``."""
    return re.sub(r"\W", "_", kind)
