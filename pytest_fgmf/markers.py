"""Markers: one for everything that is gated, one per kind of gate; `plugin` registers our own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pytest_fgmf.naming import marker_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

ANY_GATE: Final = "fgmf"


def register_kinds(config: pytest.Config, kinds: Iterable[str]) -> None:
    """Register a marker for each kind of gate that other packages added."""
    known = {line.partition(":")[0].strip() for line in config.getini("markers")}
    for name in sorted({marker_name(kind) for kind in kinds} - known):
        config.addinivalue_line("markers", f"{name}: gates of that kind")
