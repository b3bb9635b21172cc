"""The specimens of gradient masking, from where benchmarks run.

    everything = open_specimens() + honest_specimens()

They lie in `tests/specimens`, which pytest finds through its own setting.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from specimens.value import Specimen

TESTS = Path(__file__).resolve().parent.parent / "tests"


def specimens_module(name: str) -> Any:  # noqa: ANN401 - a module
    """Import `specimens.NAME`."""
    if str(TESTS) not in sys.path:
        sys.path.insert(0, str(TESTS))
    return importlib.import_module(f"specimens.{name}")


def open_specimens() -> tuple[Specimen, ...]:
    """Masked ones that a detector may be built with."""
    found: tuple[Specimen, ...] = specimens_module("open.catalogue").open_specimens()
    return found


def honest_specimens() -> tuple[Specimen, ...]:
    """Those that hide nothing."""
    found: tuple[Specimen, ...] = specimens_module("honest.catalogue").honest_specimens()
    return found
