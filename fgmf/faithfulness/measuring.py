"""From the name of a metric to its scores, whoever computes them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from fgmf.errors import InvalidInput
from fgmf.faithfulness.catalogue import find_metric, metric_parameters
from fgmf.faithfulness.curves import (
    deletion,
    faithfulness_estimate,
    insertion,
    non_sensitivity,
    pixel_flipping,
    region_perturbation,
)
from fgmf.faithfulness.replacing import make_fill
from fgmf.faithfulness.scores import ExplainedImages, MetricScores
from fgmf.faithfulness.subsets import faithfulness_correlation
from fgmf.faithfulness.task import MetricTask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from fgmf.classifier import Classifier
    from fgmf.faithfulness.entries import MetricEntry
    from fgmf.faithfulness.scores import MetricPlan

    Floats = NDArray[np.float64]

OWN: Mapping[str, Callable[[MetricTask], tuple[Floats, Floats]]] = {
    "deletion": deletion,
    "faithfulness-correlation": faithfulness_correlation,
    "faithfulness-estimate": faithfulness_estimate,
    "insertion": insertion,
    "non-sensitivity": non_sensitivity,
    "pixel-flipping": pixel_flipping,
    "region-perturbation": region_perturbation,
}
"""Metrics that our own evaluation computes, batched over images and steps."""


def measure_metric(
    plan: MetricPlan, classifier: Classifier, explained: ExplainedImages, *, seed: int = 0
) -> MetricScores:
    """Score maps.

    Args:
        plan: The metric.
        classifier: The model; comes back as it was.
        explained: Images, targets and maps, and what else the metric needs.
        seed: With the keys of the images it fixes all draws.

    Returns:
        One finite score per image, the same whatever the batch size and order of the images,
        but for rounding inside the model (and for metrics whose scope is not ``image``).

    Raises:
        InvalidInput: An unknown metric, parameter or replacement, or something is missing.
        MetricFailed: A map that the metric has no score for; says which image.
        NonFiniteOutput: The model answered NaN or infinity.

    Cost: stated by each metric. Quantus is imported (7 s, 400 MB) only where it computes.
    """
    entry = find_metric(plan.metric)
    parameters = metric_parameters(entry, plan.parameters)
    _check_needs(entry, plan, classifier, explained)
    explained.check_defined(entry)
    own = entry.name in OWN and plan.engine != "quantus"
    started, before = time.perf_counter(), classifier.cost_meter.reading()
    with torch.inference_mode(mode=False), classifier.guard(seed=seed):
        held = _in_precision(explained, classifier)
        name = plan.replacement or entry.replacement
        fill = None
        if name:
            fill = make_fill(name, held.images, bounds=classifier.bounds, keys=held.keys, seed=seed)
        task = MetricTask(
            entry=entry,
            parameters=parameters,
            classifier=classifier,
            explained=held,
            seed=seed,
            fill=fill,
        )
        curves = None
        undefined = 0
        if own:
            values, curves = OWN[entry.name](task)
        else:
            from fgmf.faithfulness.quantus_metrics import quantus_scores

            values, undefined = quantus_scores(task)
    cost = classifier.cost_meter.since(before, seconds=time.perf_counter() - started)
    return MetricScores(
        metric=entry.name,
        values=values,
        scope=entry.scope,
        higher_is_better=entry.higher_is_better,
        parameters=parameters,
        replacement=name,
        engine="own" if own else "quantus",
        seed=seed,
        curves=curves,
        scale=_scale(entry, explained),
        undefined_steps=undefined,
        cost=cost,
    )


def _check_needs(
    entry: MetricEntry, plan: MetricPlan, classifier: Classifier, explained: ExplainedImages
) -> None:
    missing = {
        "explainer": (explained.explain is None, "an explainer that can be called again"),
        "layers": (classifier.module is None, "a torch.nn.Module with layers"),
        "regions": (explained.regions is None, "regions that hold the object"),
    }
    for need in entry.needs:
        absent, words = missing[need]
        if absent:
            raise InvalidInput(f"expected {words} for {entry.name}, got none")
    if plan.replacement and not entry.replacement:
        message = f"expected no replacement for {entry.name}, which removes no pixels"
        raise InvalidInput(f"{message}, got {plan.replacement!r}")
    engines = {"own": entry.name in OWN, "quantus": bool(entry.quantus_class), "auto": True}
    if not engines[plan.engine]:
        raise InvalidInput(f"expected another engine for {entry.name}, got {plan.engine!r}")
    if "regions" in entry.needs and explained.regions is not None:
        empty = (~explained.regions.flatten(1).any(dim=1)).nonzero().flatten().tolist()
        if empty:
            raise InvalidInput(f"expected regions that hold pixels, got none for image {empty[0]}")


def _scale(entry: MetricEntry, explained: ExplainedImages) -> tuple[float, float] | None:
    if entry.scale is None:
        return None
    units = {
        "one": 1,
        "pixels": explained.maps[0].numel(),
        "features": explained.images[0].numel(),
    }
    unit = units[entry.scale_unit]
    return entry.scale[0] * unit, entry.scale[1] * unit


def _in_precision(explained: ExplainedImages, classifier: Classifier) -> ExplainedImages:
    """The same with images in the precision of the model, at least float32, on the CPU."""
    double = classifier.dtype is torch.float64
    return ExplainedImages(
        images=explained.images.detach().cpu().to(torch.float64 if double else torch.float32),
        targets=explained.targets.detach().cpu().to(torch.int64),
        maps=explained.maps.detach().cpu(),
        keys=explained.keys,
        explain=explained.explain,
        regions=None if explained.regions is None else explained.regions.cpu(),
    )
