"""What a robustness verdict rests on: evidence for its report, and examples on disk."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import torch

from fgmf.canonical import tensor_digest
from fgmf.failures import discard_failures, save_failures
from fgmf.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from fgmf.classifier import Classifier
    from fgmf.gates.robustness import RobustnessGate
    from fgmf.robustness import RobustnessMeasurement
    from fgmf.threat import ThreatModel
    from fgmf.types import Images, Json, Labels

_LIBRARIES = ("pytest-fgmf", "torch", "foolbox", "numpy")


@dataclass(frozen=True, kw_only=True)
class MeasuredImages:
    """The images that a gate measures, in the form that the engine wants.

    Attributes:
        images: (n, ...) floating point, inside the bounds.
        labels: (n,) int64.
        indices: Position of each in the user's data set.
        keys: One digest per image.
        class_sizes: Images of each class that the sample was drawn from.
        dataset_size: Images that the sample was drawn from.
    """

    images: Images
    labels: Labels
    indices: list[int]
    keys: list[str]
    class_sizes: dict[int, int]
    dataset_size: int


def evidence_of(
    gate: RobustnessGate,
    measurement: RobustnessMeasurement,
    measured: MeasuredImages,
    threat: ThreatModel,
    classifier: Classifier,
) -> dict[str, Json]:
    """Return the measured values for people and programs; they depend on the seed alone.

    Images are named by their position in the user's data set.
    """

    def named(flags: torch.Tensor) -> list[Json]:
        return [measured.indices[at] for at in flags.nonzero().flatten().tolist()]

    unverified = {at for record in measurement.records for at in record.unverified}
    still = [at for at in sorted(unverified) if not bool(measurement.broken[at])]
    return {
        "threat": threat.describe(),
        "norm": threat.norm,
        "epsilon": threat.epsilon,
        "bounds": list(threat.bounds),
        "criterion": gate.criterion,
        "target": gate.target,
        "top_k": gate.top_k,
        "attacks": _attack_rows(measurement),
        "clean_accuracy": _share(measurement.clean_correct),
        "robust_accuracy": _share(measurement.robust) if measurement.certain else None,
        "per_class": _per_class(measurement),
        "population": gate.population,
        "dataset_size": measured.dataset_size,
        "image_count": len(measured.indices),
        "misclassified_images": named(~measurement.clean_correct),
        "broken_images": named(measurement.broken & measurement.clean_correct),
        "undecided_images": named(measurement.undecided),
        "failed_images": named(measurement.failed),
        "unverified_images": [measured.indices[at] for at in still],
        "verified": f"{measurement.verified}/{measurement.verified + len(still)}",
        "data_digest": tensor_digest(measured.images),
        "model_digest": classifier.state_digest(),
        "library_versions": _library_versions(),
    }


def keep_examples(
    verdict: Verdict,
    measurement: RobustnessMeasurement,
    measured: MeasuredImages,
    *,
    gate: RobustnessGate,
    directory: Path,
    root: Path,
) -> Verdict:
    """Write the broken images of a gate that did not pass; drop older ones of one that did.

    Args:
        verdict: Its outcome decides.
        measurement: Holds the re-verified examples.
        measured: Holds the clean images.
        gate: Its specification goes into the record.
        directory: Of all failures; the gate has its own directory inside.
        root: Paths in the verdict are relative to it.

    Returns:
        The verdict with the paths of the written files.

    Raises:
        OSError: The directory cannot be written.
    """
    if verdict.outcome is Outcome.PASS or not measurement.examples:
        discard_failures(directory, gate=verdict.gate)
        return verdict
    at = [example.position for example in measurement.examples]
    recipe: dict[str, Json] = {
        "specification": gate.model_dump(mode="json"),
        "gate_seed": verdict.seed,
        "model_digest": verdict.evidence["model_digest"],
        "data_digest": verdict.evidence["data_digest"],
        "threat": {key: verdict.evidence[key] for key in ("norm", "epsilon", "bounds")},
        "library_versions": verdict.evidence["library_versions"],
        "command": verdict.reproduce,
    }
    paths = save_failures(
        directory,
        gate=verdict.gate,
        images=measured.images[at],
        adversarial=torch.stack([example.image for example in measurement.examples]),
        labels=measured.labels[at],
        predicted=torch.tensor([example.predicted for example in measurement.examples]),
        dataset_indices=torch.tensor([measured.indices[position] for position in at]),
        attack_names=[example.attack for example in measurement.examples],
        recipe=recipe,
        broken_count=measurement.verified,
    )
    return replace(verdict, artifacts=tuple(_relative(path, root) for path in paths))


def _relative(path: Path, root: Path) -> str:
    inside = path.is_relative_to(root)
    return (path.relative_to(root) if inside else path).as_posix()


def _attack_rows(measurement: RobustnessMeasurement) -> list[Json]:
    return [
        {
            "name": record.plan.label,
            "title": record.plan.entry.title,
            "parameters": dict(record.plan.parameters),
            "restarts": record.plan.restarts,
            "attacked": record.attacked,
            "broken": record.broken,
            "unverified": len(record.unverified),
            "no_start": len(record.no_start),
            "failed": len(record.failures),
        }
        for record in measurement.records
    ]


def _per_class(measurement: RobustnessMeasurement) -> dict[str, Json]:
    rows: dict[str, Json] = {}
    for label in sorted(set(measurement.labels.tolist())):
        mine = measurement.labels == label
        certain = not bool((measurement.undecided | measurement.failed)[mine].any())
        rows[str(label)] = {
            "images": int(mine.sum()),
            "clean_accuracy": _share(measurement.clean_correct[mine]),
            "robust_accuracy": _share(measurement.robust[mine]) if certain else None,
        }
    return rows


def _share(flags: torch.Tensor) -> float:
    return int(flags.sum()) / len(flags)


def _library_versions() -> dict[str, Json]:
    versions: dict[str, Json] = {}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions
