"""What the studies on real digits share: the example's networks, its test images, the result file.

The networks are those of `examples/digits`, trained anew with its own recipe: seconds each.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.pairing import machine_facts
from fgmf.datasets import Samples, digits

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from torch import nn

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "digits"


def train_reader(name: str, *, epochs: int | None = None) -> nn.Module:
    """Train "standard" or "robust" of the example; None takes its own number of epochs."""
    model: nn.Module = _example("train").train(name, digits("train"), epochs=epochs)
    return model


def reader_with(weights: Mapping[str, np.ndarray]) -> nn.Module:
    """The example's network with given weights, in evaluation mode."""
    model: nn.Module = _example("model").DigitReader()
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return model.eval()


def digit_images(count: int | None = None) -> Samples:
    """The first `count` of the 449 test images; None takes all."""
    samples = digits("test")
    return Samples(images=samples.images[:count], labels=samples.labels[:count])


def _example(module: str) -> Any:  # noqa: ANN401 - a module without stubs
    sys.path.insert(0, str(EXAMPLE))
    try:
        return importlib.import_module(f"digit_reader.{module}")
    finally:
        sys.path.remove(str(EXAMPLE))


def say(text: str) -> None:
    """One line of progress."""
    print(text, file=sys.stderr, flush=True)


def write_result(output: Path, question: str, result: Mapping[str, Any]) -> None:
    """Write a study as JSON, with the facts of the machine."""
    document = {"question": question, **result, "machine": machine_facts()}
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
