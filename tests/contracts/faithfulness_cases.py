"""What metrics of explanations do with a classifier: cases of the promise that it comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from explained_images import gradient_times_input
from tiny_models import make_images

from fgmf.faithfulness.measuring import measure_metric
from fgmf.faithfulness.scores import ExplainedImages, MetricPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.classifier import Classifier

IMAGES = make_images(6, margin=0.05)
TARGETS = torch.arange(6) % 3


def scored(classifier: Classifier, *metrics: str) -> None:
    """Score maps of gradient times input."""
    with classifier.guard():
        maps = gradient_times_input(classifier, IMAGES, TARGETS)
    given = ExplainedImages(images=IMAGES, targets=TARGETS, maps=maps, explain=gradient_times_input)
    for metric in metrics:
        measure_metric(MetricPlan(metric=metric), classifier, given)


FAITHFULNESS_CASES: dict[str, Callable[[Classifier], object]] = {
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
    "fgmf.faithfulness.task.MetricTask.__init__",  # values only
}
