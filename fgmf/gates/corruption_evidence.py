"""What a corruption verdict rests on: evidence for its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.canonical import tensor_digest
from fgmf.corruptions import CORRUPTIONS
from fgmf.gates.examples import library_versions

if TYPE_CHECKING:
    import torch

    from fgmf.classifier import Classifier
    from fgmf.corruption_accuracy import CorruptionMeasurement
    from fgmf.gates.corruption import CorruptionGate
    from fgmf.gates.subject import MeasuredImages
    from fgmf.types import Json

_NAMED = 3
"""A headline names at most so many corruptions."""


def evidence_of_corruptions(
    gate: CorruptionGate,
    measurement: CorruptionMeasurement,
    measured: MeasuredImages,
    classifier: Classifier,
) -> dict[str, Json]:
    """Return the measured values for people and programs; they depend on the seed alone.

    Images are named by their position in the user's data set. Accuracies are None where time
    ran out or the model failed before every image was measured.
    """

    def named(flags: torch.Tensor) -> list[Json]:
        return [measured.indices[at] for at in flags.nonzero().flatten().tolist()]

    mean = _share(measurement.right) if measurement.complete else None
    unverified: list[Json] = [measured.indices[at] for at in measurement.unverified]
    broken = measurement.verified + len(unverified)
    return {
        "threat": _words(gate),
        "bounds": list(classifier.bounds),
        "severities": list(gate.severities),
        "corruptions": _rows(gate, measurement, measured),
        "clean_accuracy": _share(measurement.clean_correct),
        "corruption_accuracy": _share(measurement.good) if measurement.certain else None,
        "mean_corruption_accuracy": mean,
        "mean_corruption_error": None if mean is None else 1 - mean,
        "per_class": _per_class(measurement),
        "population": gate.population,
        "dataset_size": measured.dataset_size,
        "image_count": len(measured.indices),
        "misclassified_images": named(~measurement.clean_correct),
        "broken_images": named(measurement.broken & measurement.clean_correct),
        "undecided_images": named(measurement.undecided),
        "failed_images": named(measurement.failed),
        "unverified_images": unverified,
        "verified": f"{measurement.verified}/{broken}",
        "data_digest": tensor_digest(measured.images),
        "model_digest": classifier.state_digest(),
        "library_versions": library_versions(),
    }


def _words(gate: CorruptionGate) -> str:
    titles = [CORRUPTIONS[name].title for name in gate.corruptions]
    what = ", ".join(titles) if len(titles) <= _NAMED else f"{len(titles)} corruptions"
    levels = ", ".join(map(str, gate.severities))
    plural = "severity" if len(gate.severities) == 1 else "severities"
    worst = "worst of " if len(gate.corruptions) * len(gate.severities) > 1 else ""
    return f"{worst}{what} at {plural} {levels}"


def _rows(
    gate: CorruptionGate, measurement: CorruptionMeasurement, measured: MeasuredImages
) -> list[Json]:
    """One row per corruption: what its numbers were, and how many images were right."""
    height, width = measured.images.shape[-2:]
    rows: list[Json] = []
    for name in gate.corruptions:
        entry = CORRUPTIONS[name]
        at = [row for row, cell in enumerate(measurement.cells) if cell.corruption == name]
        right, done = measurement.right[at], measurement.measured[at]
        wrong = (done & ~right).any(dim=0) & measurement.clean_correct
        accuracy = _share(right) if bool(done.all()) else None
        by_severity: dict[str, Json] = {
            str(measurement.cells[row].severity): _share(measurement.right[row])
            if bool(measurement.measured[row].all())
            else None
            for row in at
        }
        values: dict[str, Json] = {
            str(level): dict(
                zip(
                    entry.parameters,
                    entry.values(level, height=height, width=width),
                    strict=True,
                )
            )
            for level in gate.severities
        }
        rows.append(
            {
                "name": name,
                "title": entry.title,
                "accuracy": accuracy,
                "error": None if accuracy is None else 1 - accuracy,
                "by_severity": by_severity,
                "parameters": values,
                "broken": int(wrong.sum()),
            }
        )
    return rows


def _per_class(measurement: CorruptionMeasurement) -> dict[str, Json]:
    unsure = measurement.undecided | measurement.failed
    rows: dict[str, Json] = {}
    for label in sorted(set(measurement.labels.tolist())):
        mine = measurement.labels == label
        certain = not bool(unsure[mine].any())
        rows[str(label)] = {
            "images": int(mine.sum()),
            "clean_accuracy": _share(measurement.clean_correct[mine]),
            "corruption_accuracy": _share(measurement.good[mine]) if certain else None,
        }
    return rows


def _share(flags: torch.Tensor) -> float:
    return int(flags.sum()) / flags.numel()
