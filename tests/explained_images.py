"""Small explained images, and ways to ask for a score: for tests of faithfulness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tiny_models import CurvedModel, classify, make_images

from fgmf.faithfulness.catalogue import find_metric, metric_parameters
from fgmf.faithfulness.measuring import measure_metric
from fgmf.faithfulness.replacing import make_fill
from fgmf.faithfulness.scores import ExplainedImages, MetricPlan, MetricScores
from fgmf.faithfulness.task import MetricTask

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.classifier import Classifier

COUNT = 4


def curved() -> Classifier:
    """A smooth model in double precision, the same to the last bit in any batch."""
    return classify(CurvedModel(scale=0.3).double())


def gradient_times_input(
    classifier: Classifier, images: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    points = images.detach().clone().requires_grad_()
    logits = classifier.logits(points)
    (gradient,) = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), points)
    return (gradient * points).sum(dim=1).detach()


def explained(classifier: Classifier, *, channels: int = 1, seed: int = 1) -> ExplainedImages:
    """Images with maps without ties, an explainer, and regions in the middle."""
    images = make_images(COUNT, seed=seed, shape=(channels, 8, 8)).double()
    with classifier.guard():
        targets = classifier.predict(images)
        maps = gradient_times_input(classifier, images, targets)
    regions = torch.zeros(COUNT, 8, 8, dtype=torch.bool)
    regions[:, 2:6, 1:5] = True
    return ExplainedImages(
        images=images, targets=targets, maps=maps, explain=gradient_times_input, regions=regions
    )


def score(
    name: str, classifier: Classifier, given: ExplainedImages, *, seed: int = 5, **plan: Any
) -> MetricScores:
    return measure_metric(MetricPlan(metric=name, **plan), classifier, given, seed=seed)


def asking(
    classifier: Classifier, target: int, *, probability: bool
) -> Callable[[np.ndarray], float]:
    """The answer on one image, for oracles."""

    def ask(image: np.ndarray) -> float:
        logits = classifier.logits(torch.from_numpy(np.ascontiguousarray(image))[None])[0].double()
        return float((logits.softmax(dim=0) if probability else logits)[target])

    return ask


def fills(given: ExplainedImages, name: str, *, seed: int = 5, draw: int = 0) -> np.ndarray:
    fill = make_fill(name, given.images, bounds=(0, 1), keys=given.keys, seed=seed, draw=draw)
    assert fill.substitutes is not None
    return fill.substitutes.numpy()


def task_of(
    name: str, classifier: Classifier, given: ExplainedImages, *, seed: int = 5, **parameters: Any
) -> MetricTask:
    entry = find_metric(name)
    return MetricTask(
        entry=entry,
        parameters=metric_parameters(entry, parameters),
        classifier=classifier,
        explained=given,
        seed=seed,
        fill=None,
    )
