"""What an attack-selftest verdict rests on: evidence for its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.canonical import tensor_digest
from fgmf.gates.examples import library_versions

if TYPE_CHECKING:
    import torch

    from fgmf.classifier import Classifier
    from fgmf.gates.subject import MeasuredImages
    from fgmf.robustness import RobustnessPlan
    from fgmf.selftest import BinarizationMeasurement, ScalingMeasurement
    from fgmf.types import ImageFlags, Json


def selftest_evidence(
    plan: RobustnessPlan,
    test: BinarizationMeasurement,
    scaling: ScalingMeasurement,
    certified: ImageFlags | None,
    *,
    subject: MeasuredImages,
    classifier: Classifier,
) -> dict[str, Json]:
    """Return the measured values for people and programs; they depend on the seed alone.

    Images are named by their position in the user's data set.
    """

    def named(flags: torch.Tensor) -> list[Json]:
        return [subject.indices[at] for at in flags.nonzero().flatten().tolist()]

    valid = int(test.valid.sum())
    passes = [count for count in test.passes if count]
    return {
        "threat": plan.threat.describe(),
        "norm": plan.threat.norm,
        "epsilon": plan.threat.epsilon,
        "bounds": list(plan.threat.bounds),
        "attacks": _attack_rows(plan, test),
        "features": test.source,
        "image_count": len(subject.indices),
        "dataset_size": subject.dataset_size,
        "valid_count": valid,
        "test_success": _share(test.found, valid),
        "random_search_success": _share(test.found_by_random, valid),
        "passes_per_image": sum(passes) / len(passes) if passes else 0.0,
        "invalid_images": named(~test.valid),
        "missed_images": named(test.valid & ~test.found & ~test.undecided & ~test.failed),
        "undecided_images": named(test.undecided),
        "failed_images": named(test.failed),
        "scaling": {
            "1": _scaled_row(scaling.plain.robust),
            **{f"{k:g}": _scaled_row(entry.robust) for k, entry in scaling.scaled.items()},
        },
        "certified": None if certified is None else _share(certified, len(certified)),
        "data_digest": tensor_digest(subject.images),
        "model_digest": classifier.state_digest(),
        "library_versions": library_versions(),
    }


def _attack_rows(plan: RobustnessPlan, test: BinarizationMeasurement) -> list[Json]:
    return [
        {
            "name": attack.label,
            "title": attack.entry.title,
            "parameters": dict(attack.parameters),
            "restarts": attack.restarts,
            "attacked": test.attacked[attack.label],
            "broken": test.broken[attack.label],
        }
        for attack in plan.attacks
    ]


def _scaled_row(robust: ImageFlags) -> dict[str, Json]:
    return {"robust_accuracy": _share(robust, len(robust)), "images": len(robust)}


def _share(flags: torch.Tensor, of: int) -> float | None:
    return int(flags.sum()) / of if of else None
