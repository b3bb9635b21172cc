"""What a benchmark asks of a trained model besides gates: curvature, CPU time, memory.

h = epsilon sqrt(d) for Linf, the length of a corner of the cube, and epsilon for L2
negative share = images whose loss bends downwards over h, along the gradient or 3 random directions
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, Final

from fgmf.curvature import CurvatureProbe, ImageLoss, measure_negative_curvature
from fgmf.gatefile.tables import SourceTable
from fgmf.pipeline.building import collected_samples
from fgmf.pipeline.directory import TrainingDirectory
from fgmf.pipeline.manifest import read_manifest
from fgmf.pipeline.reloading import load_trained
from fgmf.threat import parse_epsilon

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_IMAGES: Final = 200


def curvature_measures(
    training: Path, data: Mapping[str, Any], threat: Mapping[str, Any], place: Path
) -> dict[str, float]:
    """Measure negative curvature on the first 200 images.

    Args:
        training: Directory of a finished training.
        data: Table of images, as in a gate file.
        threat: `norm` and `epsilon`.
        place: Where factories and paths are meant from.

    Returns:
        `negative_share` of the images, and `largest_curvature`, the mean over images of the largest
        along their directions.

    Raises:
        FgmfError: No trained model, or no images.

    Randomness: fixed.
    Cost: 5 forward and 5 backward passes per image.
    """
    model = load_trained(training)
    samples = collected_samples(SourceTable.model_validate(dict(data)), "data", place)
    images, labels = samples.images[:_IMAGES], samples.labels[:_IMAGES].long()
    epsilon = float(parse_epsilon(threat["epsilon"]))
    length = math.sqrt(images[0].numel()) if threat["norm"] == "linf" else 1.0
    found = measure_negative_curvature(
        ImageLoss(model=model, labels=labels), images, CurvatureProbe(step=epsilon * length)
    )
    largest = float(found.curvatures.amax(dim=1).mean())
    return {"negative_share": found.share, "largest_curvature": largest}


def training_measures(training: Path) -> dict[str, float]:
    """Return what a finished training took.

    Returns:
        `epoch_cpu_seconds`, unless it was made in more than one session, of which only the last
        is known.
    """
    manifest = read_manifest(TrainingDirectory(path=training).manifest)
    if manifest is None or len(manifest["sessions"]) != 1:
        return {}
    result = manifest["result"]
    epochs = len(result.get("losses", ()))
    return {"epoch_cpu_seconds": result["cpu_seconds"] / epochs} if epochs else {}


def peak_memory() -> float | None:
    """Return the peak memory of this process in MiB so far; None where it cannot be told."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
