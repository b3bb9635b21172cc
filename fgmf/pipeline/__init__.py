"""Trainings as data: `recipe.toml` to weights, metrics, a manifest, and back into a gate file.

`tables` and `defences` say what a recipe file may hold, `loading` reads one and tells every problem
at once, `building` makes model, images and objective of it, `directory` is where a training writes,
`running` trains and goes on after a crash. Reading a recipe file needs no torch.

    fgmf train recipe.toml

    [model]                                        # in a gate file
    factory = "fgmf.pipeline:trained_model"
    arguments = { directory = "runs/digits" }
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

__all__ = ["recipe_schema", "trained_model"]


def trained_model(directory: str, *, even_stopped: bool = False) -> nn.Module:
    """Return the model of a finished training, for gate files and programs.

    Args:
        directory: That `fgmf train` wrote to, from the working directory or absolute.
        even_stopped: Take a training too that the collapse monitor ended before its time.

    Returns:
        The model in evaluation mode, with the weights that the training ended with.

    Raises:
        StaleEvidence: There is no finished training, it was stopped before its time, or its
            weights are not those that its manifest names.
    """
    from pathlib import Path

    from fgmf.pipeline.reloading import load_trained

    return load_trained(Path(directory), even_stopped=even_stopped)


def recipe_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a recipe file, for editors."""
    from fgmf.pipeline.schema import recipe_file_schema

    return recipe_file_schema()
