"""The specimens of gradient masking, from where benchmarks run.

    everything = open_specimens() + honest_specimens()

Those on digits lie in `tests/specimens`, which pytest finds through its own setting; those on
Fashion-MNIST in `masking_fashion*.py`.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

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
    return found + _on_fashion("masking_fashion", "fashion_open")


def honest_specimens() -> tuple[Specimen, ...]:
    """Those that hide nothing."""
    found: tuple[Specimen, ...] = specimens_module("honest.catalogue").honest_specimens()
    return found + _on_fashion("masking_fashion", "fashion_honest")


def held_out_specimens() -> tuple[Specimen, ...]:
    """Masked ones of the mechanisms that a detector is not built with."""
    found: tuple[Specimen, ...] = specimens_module("held_out.catalogue").held_out_specimens()
    return found + _on_fashion("masking_fashion_held_out", "fashion_held_out")


def _on_fashion(module: str, name: str) -> tuple[Specimen, ...]:
    """Specimens on Fashion-MNIST, where its images are installed."""
    from fgmf.errors import FgmfError

    try:
        found: tuple[Specimen, ...] = getattr(
            importlib.import_module(f"benchmarks.{module}"), name
        )()
    except FgmfError as error:
        print(f"no specimens on Fashion-MNIST: {error}", file=sys.stderr, flush=True)
        return ()
    return found


FAMILIES: dict[str, Callable[[], tuple[Specimen, ...]]] = {
    "open": open_specimens,
    "honest": honest_specimens,
    "held-out": held_out_specimens,
}


def family(name: str) -> tuple[Specimen, ...]:
    """All specimens of "open", "honest" or "held-out"."""
    return FAMILIES[name]()
