"""Exporting tiny models: for tests of ONNX files."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn


def export(
    module: nn.Module, path: Path, *inputs: torch.Tensor, names: list[str], fixed: bool
) -> Path:
    """Write a model as an ONNX file, for batches of any size or for that of the inputs alone."""
    batch = None if fixed else torch.export.Dim("batch")
    shapes = None if fixed else tuple({0: batch} for _ in inputs)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter announces its own deprecations
        torch.onnx.export(
            module.eval(),
            inputs,
            str(path),
            dynamo=True,
            dynamic_shapes=shapes,
            output_names=names,
            external_data=False,
            verbose=False,
        )
    return path
