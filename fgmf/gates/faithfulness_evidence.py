"""What a verdict on explanations rests on: evidence for its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.attribution.catalogue import find_explainer
from fgmf.canonical import tensor_digest
from fgmf.faithfulness.catalogue import find_metric
from fgmf.gates.examples import library_versions
from fgmf.gates.explanation_pictures import captions_of, sample_pictures

if TYPE_CHECKING:
    from fgmf.classifier import Classifier
    from fgmf.faithfulness.comparing import FaithfulnessMeasurement, MetricComparison
    from fgmf.gates.explanations import ExplainerSpecification
    from fgmf.gates.faithfulness import FaithfulnessGate
    from fgmf.gates.subject import MeasuredImages
    from fgmf.types import Json


def evidence_of_faithfulness(
    gate: FaithfulnessGate,
    measurement: FaithfulnessMeasurement,
    measured: MeasuredImages,
    classifier: Classifier,
) -> dict[str, Json]:
    """Return the measured values for people and programs; they depend on the seed alone.

    Scores of each image are listed in the order of `image_indices`, positions in the user's data
    set.
    """
    shown = gate.pictures if gate.save_failures else 0
    compared: list[Json] = [_row(one) for one in measurement.comparisons]
    replaced: dict[str, Json] = {n: c for n, c in measurement.replaced_maps.items() if c}
    return {
        "threat": f"{explainer_title(gate.explainer)} of the {_TARGETS[gate.target]}"
        + (f" over {', '.join(gate.references)}" if measurement.replaced_maps else ""),
        "explainer": explainer_evidence(gate.explainer),
        "target": gate.target,
        "comparisons": compared,
        "replaced_reference_maps": replaced,
        "pictures": sample_pictures(
            measurement.attribution,
            measured.images,
            captions_of(measurement.attribution, measured, count=shown),
            classifier.bounds,
        ),
        **subject_evidence(measured, classifier, population=gate.population),
    }


def comparison_rows(measurement: FaithfulnessMeasurement) -> list[dict[str, Json]]:
    """Return a row for each metric under each replacement."""
    return [_row(one) for one in measurement.comparisons]


def explainer_title(specification: ExplainerSpecification) -> str:
    """Name of an explainer in headlines."""
    return find_explainer(specification.name).title


def explainer_evidence(specification: ExplainerSpecification) -> dict[str, Json]:
    """Return name and parameters of an explainer."""
    parameters: dict[str, Json] = dict(specification.parameters)
    return {"name": specification.name, "parameters": parameters}


def subject_evidence(
    measured: MeasuredImages, classifier: Classifier, *, population: str
) -> dict[str, Json]:
    """Return which images and which model a verdict on explanations is about."""
    return {
        "population": population,
        "dataset_size": measured.dataset_size,
        "image_count": len(measured.indices),
        "image_indices": list(measured.indices),
        "bounds": list(classifier.bounds),
        "data_digest": tensor_digest(measured.images),
        "model_digest": classifier.state_digest(),
        "library_versions": library_versions(),
    }


_TARGETS = {"prediction": "predicted class", "label": "label"}


def _row(comparison: MetricComparison) -> dict[str, Json]:
    """One metric under one replacement: what it gave, and what references gave."""
    plan, scores = comparison.plan, comparison.scores
    entry = find_metric(plan.metric)
    row: dict[str, Json] = {
        "metric": plan.metric,
        "title": entry.title,
        "replacement": plan.replacement or "",
        "higher_is_better": entry.higher_is_better,
        "score": None,
        "references": [],
    }
    if scores is None:
        return row
    margins = comparison.margins()
    references: list[Json] = [
        {
            "name": name,
            "score": float(its.values.mean()),
            "margin": float(margins[name].mean()),
            "beaten_on": int((margins[name] > 0).sum()),
        }
        for name, its in comparison.references.items()
    ]
    return row | {
        "score": float(scores.values.mean()),
        "parameters": dict(scores.parameters),
        "engine": scores.engine,
        "references": references,
        "scores": [float(value) for value in scores.values],
    }
