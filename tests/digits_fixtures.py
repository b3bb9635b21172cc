"""Trained models and real images for tests of anything: the example's digits.

Fixtures (registered in the root conftest.py):
    digits_test              449 real test images with labels (`fgmf.datasets.Samples`)
    standard_digits_model    falls to about 0.15 robust accuracy at Linf 0.15
    robust_digits_model      keeps about 0.7 there; both read about 0.97 clean images right
    trained_digits           trained_digits("standard" | "robust"): a model for session fixtures
    digits_example           folder of the example repository

Models are fresh copies, so a test may change one. Each is trained once in a run, also under
xdist, where at worst two workers train the same model at the same time.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from fgmf.datasets import Samples

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "digits"
# Fewer than the example's own: enough for a clear difference, a third of the time.
EPOCHS = {"standard": 6, "robust": 10}


def example_module(name: str) -> Any:
    """Import a module of the example, such as ``digit_reader.train``."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(EXAMPLE))


@pytest.fixture(scope="session")
def digits_example() -> Path:
    """Folder of the example repository."""
    return EXAMPLE


@pytest.fixture(scope="session")
def digits_test() -> Samples:
    """The 449 test images (n, 1, 8, 8) in [0, 1], with labels."""
    from fgmf.datasets import digits

    return digits("test")


@pytest.fixture(scope="session")
def trained_digits(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], nn.Module]:
    """A function from "standard" or "robust" to a fresh copy of the trained model."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # which all workers of a run share

    def load(name: str) -> nn.Module:
        from safetensors.torch import load_file, save

        from fgmf.canonical import write_atomically
        from fgmf.datasets import digits

        path = folder / f"digits-{name}.safetensors"
        if not path.exists():
            train = example_module("digit_reader.train").train
            trained: nn.Module = train(name, digits("train"), epochs=EPOCHS[name])
            write_atomically(path, save(trained.state_dict()))
        model: nn.Module = example_module("digit_reader.model").DigitReader()
        model.load_state_dict(load_file(path))
        return model.eval()

    return load


@pytest.fixture
def standard_digits_model(trained_digits: Callable[[str], nn.Module]) -> nn.Module:
    """A model trained on clean digits only."""
    return trained_digits("standard")


@pytest.fixture
def robust_digits_model(trained_digits: Callable[[str], nn.Module]) -> nn.Module:
    """A model trained on adversarial digits."""
    return trained_digits("robust")
