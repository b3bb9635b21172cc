"""Gates can also be ordinary tests: model and data come from the gate file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_fgmf.fixtures import GateFixture


def test_a_tenth_of_the_range(fgmf: GateFixture) -> None:
    """Smaller changes, more images that must stay right."""
    fgmf.assert_robust(norm="linf", epsilon=0.1, min_robust_accuracy=0.75)
