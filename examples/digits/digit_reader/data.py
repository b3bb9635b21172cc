"""The images that the gates are about."""

from __future__ import annotations

from fgmf.datasets import Samples, digits


def test_set() -> Samples:
    """Return the 449 digits that no model was trained on, (n, 1, 8, 8) in [0, 1]."""
    return digits("test")
