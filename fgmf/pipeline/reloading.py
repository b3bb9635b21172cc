"""The model of a finished training, made again and checked against the manifest."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from fgmf.errors import StaleEvidence
from fgmf.pipeline.building import build_model
from fgmf.pipeline.directory import TrainingDirectory, file_digest
from fgmf.pipeline.loading import plan_of
from fgmf.pipeline.manifest import read_manifest, weights_digest
from fgmf.pipeline.networks import ImageFacts
from fgmf.pipeline.pruning import check_pattern

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn


def load_trained(path: Path, *, even_stopped: bool = False) -> nn.Module:
    """Return the model of a finished training.

    Args:
        path: The directory that it wrote to.
        even_stopped: Take a training that the collapse monitor, or another callback, ended.

    Returns:
        In evaluation mode, on the CPU.

    Raises:
        StaleEvidence: There is no finished training, it was stopped before its time, or its
            weights or their zeros are others than it wrote.
    """
    directory = TrainingDirectory(path=path)
    manifest = read_manifest(directory.manifest)
    if manifest is None or manifest["state"] == "running":
        got = "none" if manifest is None else "one that is not finished; `fgmf train` goes on"
        raise StaleEvidence(f"expected a finished training in {path}, got {got}")
    result = manifest["result"]
    if result["stopped"] and not even_stopped:
        raise StaleEvidence(
            f"expected a training in {path} that ran to its end, got one that was stopped: "
            f"{json.dumps(result['stopped'])}; train on with other settings, or give even_stopped"
        )
    check_weights_file(directory, result)
    plan = plan_of(manifest["recipe"], (path / manifest["recipe_file"]["path"]).resolve())
    images = manifest["images"]
    facts = ImageFacts(**{field.name: images[field.name] for field in fields(ImageFacts)})
    model = build_model(plan, facts)
    try:
        model.load_state_dict(load_file(directory.weights))
    except (SafetensorError, RuntimeError) as error:
        reason = json.dumps(str(error).splitlines()[0])
        raise StaleEvidence(f"expected weights of this model in {path}, got: {reason}") from error
    if weights_digest(model.state_dict()) != result["weights"]:
        raise StaleEvidence(f"expected the weights that {path} names in its manifest, got others")
    if plan.pruning is not None and not (result["stopped"] and not result.get("pattern")):
        check_pattern(directory.pattern, str(result.get("pattern", "")), model)
    return model.eval()


def check_weights_file(directory: TrainingDirectory, result: Mapping[str, Any]) -> None:
    """Hold the file of weights against the result that a manifest names.

    Raises:
        StaleEvidence: There is none, or it is another.
    """
    expected = f"expected the weights that {directory.path} names in its manifest"
    if not directory.weights.is_file():
        raise StaleEvidence(f"{expected}, got none; put them back, or start anew (--restart)")
    if file_digest(directory.weights) != result["weights_file"]:
        raise StaleEvidence(f"{expected}, got others; put them back, or start anew (--restart)")
