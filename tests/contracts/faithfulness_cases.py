"""What metrics of explanations do with a classifier: cases of the promise that it comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from explained_images import gradient_times_input
from tiny_models import keys_of, make_images

from fgmf.attribution.building import explainer
from fgmf.faithfulness.comparing import ComparisonPlan, compare_with_references
from fgmf.faithfulness.measuring import measure_metric
from fgmf.faithfulness.scores import ExplainedImages, MetricPlan
from fgmf.faithfulness.stability import StabilityPlan, measure_stability
from fgmf.gates import ExplanationStabilityGate, FaithfulnessGate, RunContext
from fgmf.gates.explanation_stability_check import check_stability
from fgmf.gates.faithfulness_check import check_faithfulness

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.classifier import Classifier

IMAGES = make_images(12, margin=0.05)
TARGETS = torch.arange(12) % 3


def scored(classifier: Classifier, *metrics: str) -> None:
    """Score maps of gradient times input."""
    with classifier.guard():
        maps = gradient_times_input(classifier, IMAGES, TARGETS)
    given = ExplainedImages(images=IMAGES, targets=TARGETS, maps=maps, explain=gradient_times_input)
    for metric in metrics:
        measure_metric(MetricPlan(metric=metric), classifier, given)


WAIVED = ("clean-accuracy-at-chance", "normalisation-missing", "too-few-images")
FAITHFULNESS = FaithfulnessGate(  # a margin that a tie with random maps misses, and measures
    explainer="gradient", min_margin=0.1, population="dataset", waive=WAIVED
)
STABILITY = ExplanationStabilityGate(
    explainer="gradient",
    noise=0.01,
    min_noise_similarity=-1.0,
    epsilon=0.01,
    min_adversarial_similarity=-1.0,
    population="dataset",
    waive=WAIVED,
)


def compared(classifier: Classifier) -> None:
    """Beside all references, one of which is the same model with other weights."""
    plan = ComparisonPlan(
        metrics=(MetricPlan(metric="deletion"),),
        references=("random", "centre", "edges", "randomised-model"),
        seed=0,
    )
    compare_with_references(
        explainer("gradient"), classifier, IMAGES, TARGETS, plan, keys=keys_of(IMAGES)
    )


def stable(classifier: Classifier) -> None:
    """Under noise and within epsilon."""
    plan = StabilityPlan(similarity="spearman", noise=0.01, epsilon=0.01)
    measure_stability(explainer("gradient"), classifier, IMAGES, plan, keys=keys_of(IMAGES))


FAITHFULNESS_CASES: dict[str, Callable[[Classifier], object]] = {
    "fgmf.faithfulness.comparing.compare_with_references": compared,
    "fgmf.faithfulness.stability.measure_stability": stable,
    "fgmf.gates.explanation_stability.ExplanationStabilityGate.check": lambda c: STABILITY.check(
        c, IMAGES, TARGETS
    ),
    "fgmf.gates.explanation_stability_check.check_stability": lambda c: check_stability(
        STABILITY, c, IMAGES, TARGETS, RunContext()
    ),
    "fgmf.gates.faithfulness.FaithfulnessGate.check": lambda c: FAITHFULNESS.check(
        c, IMAGES, TARGETS
    ),
    "fgmf.gates.faithfulness_check.check_faithfulness": lambda c: check_faithfulness(
        FAITHFULNESS, c, IMAGES, TARGETS, RunContext()
    ),
    "fgmf.gates.faithfulness_evidence.evidence_of_faithfulness": lambda c: FAITHFULNESS.check(
        c, IMAGES, TARGETS
    ),
    "fgmf.gates.faithfulness_evidence.subject_evidence": lambda c: STABILITY.check(
        c, IMAGES, TARGETS
    ),
    "fgmf.faithfulness.measuring.measure_metric": lambda c: scored(
        c, "deletion", "faithfulness-correlation"
    ),
    "fgmf.faithfulness.quantus_model.explain_again": lambda c: scored(c, "max-sensitivity"),
    "fgmf.faithfulness.quantus_model.hidden_outputs": lambda c: scored(
        c, "relative-representation-stability"
    ),
    "fgmf.faithfulness.quantus_model.predict": lambda c: scored(c, "infidelity"),
    "fgmf.faithfulness.quantus_model.randomised_layers": lambda c: scored(
        c, "mprt", "efficient-mprt"
    ),
}
NOT_SCORING = {
    "fgmf.faithfulness.references.randomised_copy",  # runs nothing; see `compared`
    "fgmf.faithfulness.task.MetricTask.__init__",  # values only
}
