"""Markers: one for everything that is gated, one per kind of gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pytest_fgmf.naming import marker_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

ANY_GATE: Final = "fgmf"
_OWN: Final = {
    ANY_GATE: "gates of a gate file, and tests that use the fixture fgmf",
    "robustness": "gates on robust accuracy",
    "corruption": "gates on accuracy under common corruptions",
    "gradient_masking": "gates on gradient masking",
    "faithfulness": "gates on the faithfulness of explanations",
    "mask_log": "gates on logs of saliency masks",
}


def register_markers(config: pytest.Config) -> None:
    """Register the plugin's own markers, so that --strict-markers knows them."""
    for name, meaning in _OWN.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


def register_kinds(config: pytest.Config, kinds: Iterable[str]) -> None:
    """Register a marker for each kind of gate that other packages added."""
    known = {line.partition(":")[0].strip() for line in config.getini("markers")}
    for name in sorted({marker_name(kind) for kind in kinds} - known):
        config.addinivalue_line("markers", f"{name}: gates of that kind")
