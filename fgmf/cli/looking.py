"""A look at a model and its data, from which `fgmf init` writes its first gate file."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from fgmf.errors import FgmfError
from fgmf.gatefile import DataEntry, GateFile, ModelEntry
from fgmf.threat import ThreatModel, format_epsilon

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fgmf.classifier import Classifier
    from fgmf.datasets import Samples
    from fgmf.preflight.data import ImageStatistics
    from fgmf.types import Bounds
    from fgmf.verdict import Finding

FACTORY: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_WHOLE_TOPS: Final = (1.0, 15.0, 16.0, 255.0, 4095.0, 65535.0)
"""Highest levels of images in whole numbers: 1, 4, 8, 12 and 16 bits, and the 0..16 of digits."""
_MEASURED: Final = 500
"""Images for the clean accuracy: as many as a gate takes by default."""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What was seen.

    Attributes:
        images: Words on count, shape, type and range of the images.
        bounds: Guess of the lowest and highest valid pixel value.
        normalize: Guess of what the model expects, where it is much better with it.
        epsilon: A budget that is usual for such images, in the units of the bounds.
        class_count: Classes of the model; None if it could not be run.
        clean_accuracy: On `measured` images; None if it could not be run.
        measured: Images behind the accuracy.
        gradient_available: False for an ONNX file.
        findings: Of the preflight, with these guesses.
    """

    images: str
    bounds: Bounds
    normalize: Mapping[str, list[float]] | None
    epsilon: float | str
    class_count: int | None
    clean_accuracy: float | None
    measured: int
    gradient_available: bool
    findings: tuple[Finding, ...]


def look(directory: Path, *, model: str, data: str) -> Sight:
    """Load model and data and measure what a gate file needs to say.

    Args:
        directory: That of the gate file; factories are imported from it first.
        model: ``package.module:factory`` or the path of an ONNX file.
        data: Likewise, an ``.npz`` file or a folder of images.

    Returns:
        Guesses and findings.

    Raises:
        FactoryFailed: Model or data cannot be loaded.

    Cost: about ten forward and three backward passes on 64 images, and one forward on 500.
    """
    from fgmf.preflight.data import measure_images
    from fgmf.running import importing_from

    entry = model_entry(model, directory)
    gate_file = GateFile(
        path=directory / "fgmf.toml",
        digest="",
        seed=0,
        models=(entry,),
        data=data_entry(data, directory),
        profile="default",
        gates=(),
    )
    with importing_from(directory):
        samples = _samples(gate_file)
        statistics = measure_images(samples.images)
        bounds = guess_bounds(statistics)
        entry = replace(entry, bounds=bounds)
        epsilon = guess_epsilon(statistics, bounds)
        classifier, findings = _inspected(gate_file, entry, samples, epsilon)
        normalize = _missing_normalisation(statistics, findings)
        if normalize is not None:
            entry = replace(entry, normalize=normalize)
            classifier, findings = _inspected(gate_file, entry, samples, epsilon)
        class_count, accuracy, measured = _clean_accuracy(classifier, samples)
    return Sight(
        images=_described(statistics),
        bounds=bounds,
        normalize=normalize,
        epsilon=epsilon,
        class_count=class_count,
        clean_accuracy=accuracy,
        measured=measured,
        gradient_available=classifier.gradient_available,
        findings=findings,
    )


def model_entry(model: str, directory: Path) -> ModelEntry:
    """Return the entry of a factory or an ONNX file, with bounds still to be guessed."""
    if FACTORY.fullmatch(model):
        return ModelEntry(name="", bounds=(0.0, 1.0), factory=model)
    return ModelEntry(name="", bounds=(0.0, 1.0), path=directory / model)


def data_entry(data: str, directory: Path) -> DataEntry:
    """Return the entry of a factory or a path."""
    if FACTORY.fullmatch(data):
        return DataEntry(factory=data)
    return DataEntry(path=directory / data)


def guess_bounds(statistics: ImageStatistics) -> Bounds:
    """Guess the range of valid pixels from the range that was seen.

    Args:
        statistics: Of all images.

    Returns:
        0..1, 0..255 and the like where they hold the images, -1..1 for images around zero, else
        the range itself, rounded outwards.
    """
    lowest, highest = statistics.lowest, statistics.highest
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        return 0.0, 1.0
    tops: tuple[float, ...] = _WHOLE_TOPS if statistics.whole else (1.0, 255.0)
    if statistics.dtype == "uint8":
        tops = (255.0,)
    if lowest >= 0 and highest <= tops[-1]:
        near = [top for top in tops if highest <= top]
        if statistics.whole or near[0] == 1.0 or highest > 64:
            return 0.0, near[0]
    if -1 <= lowest < 0 and highest <= 1:
        return -1.0, 1.0
    lower, upper = math.floor(lowest * 10) / 10, math.ceil(highest * 10) / 10
    return min(lower, 0.0), max(upper, lower + 0.1)


def guess_epsilon(statistics: ImageStatistics, bounds: Bounds) -> float | str:
    """Return a usual Linf budget: 8/255 of the range for colour, a tenth of it for grey."""
    width = bounds[1] - bounds[0]
    colour = len(statistics.shape) == 4 and statistics.shape[1] == 3
    share = 8 / 255 if colour else 0.1
    shown = format_epsilon(share * width)
    return shown if "/" in shown else float(shown)


def _samples(gate_file: GateFile) -> Samples:
    from fgmf.running import GateRun

    return GateRun(gate_file).samples()


def _inspected(
    gate_file: GateFile, entry: ModelEntry, samples: Samples, epsilon: float | str
) -> tuple[Classifier, tuple[Finding, ...]]:
    from fgmf.preflight import inspect
    from fgmf.running import GateRun
    from fgmf.threat import parse_epsilon

    classifier = GateRun(replace(gate_file, models=(entry,))).classifier()
    threat = ThreatModel(norm="linf", epsilon=parse_epsilon(epsilon), bounds=entry.bounds)
    findings = inspect(
        classifier,
        samples,
        threat=threat,
        kind="robustness",
        needs_gradient=classifier.gradient_available,
    )
    return classifier, findings


def _missing_normalisation(
    statistics: ImageStatistics, findings: tuple[Finding, ...]
) -> dict[str, list[float]] | None:
    """Return the data's own mean and deviation where the model is much better with them."""
    for finding in findings:
        scaling = str(finding.evidence.get("scaling", ""))
        if finding.name == "normalisation-missing" and "own mean" in scaling:
            return {
                "mean": [round(value, 4) for value in statistics.mean],
                "std": [round(value, 4) for value in statistics.std],
            }
    return None


def _clean_accuracy(
    classifier: Classifier, samples: Samples
) -> tuple[int | None, float | None, int]:
    """Return the number of classes, the accuracy, and on how many images it was measured."""
    import torch

    from fgmf.failures.picture import evenly_spaced
    from fgmf.preflight.labels import class_indices

    rows = evenly_spaced(len(samples), _MEASURED)
    lower, upper = classifier.bounds
    images = samples.images[rows].to(torch.float32).clamp(lower, upper)
    try:
        with classifier.guard(tolerate_changes=True):
            logits = classifier.logits_in_batches(images)
    except (FgmfError, RuntimeError, ValueError, TypeError):
        return None, None, 0  # The preflight says what is wrong.
    labels = class_indices(samples.labels)
    if labels is None or not bool(torch.isfinite(logits).all()):
        return logits.shape[1], None, 0
    right = logits.argmax(dim=1) == labels[rows]
    return logits.shape[1], float(right.double().mean()), len(rows)


def _described(statistics: ImageStatistics) -> str:
    shape = " x ".join(str(side) for side in statistics.shape[1:])
    low, high = f"{statistics.lowest:.4g}", f"{statistics.highest:.4g}"
    return f"{statistics.count} images of {shape}, {statistics.dtype}, {low} to {high}"
