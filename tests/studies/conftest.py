"""The benchmarks as modules: they stand beside the packages and are not installed."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A function from the name of a benchmark to its module."""

    def load(name: str) -> Any:
        monkeypatch.syspath_prepend(ROOT)
        return importlib.import_module(f"benchmarks.{name}")

    return load
