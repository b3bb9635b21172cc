"""An explainer's maps and those of references, scored by the same metrics on the same images.

maps = explainer(model, images); references = maps that know less
for each metric under each replacement:
    scores of the explainer's maps; scores of each reference's maps
    margin of image i over a reference = score - reference's score, turned so that more is better
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fgmf.faithfulness.catalogue import find_metric
from fgmf.faithfulness.measuring import measure_metric
from fgmf.faithfulness.references import (
    centre_maps,
    edge_maps,
    random_maps,
    randomised_copy,
    usable_maps,
)
from fgmf.faithfulness.scores import ExplainedImages, MetricPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from fgmf.attribution.interface import Attribution, Explainer
    from fgmf.classifier import Classifier
    from fgmf.faithfulness.scores import MetricScores
    from fgmf.types import Images, Labels

    Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ComparisonPlan:
    """The question.

    Attributes:
        metrics: What is measured, in this order.
        references: Names of references; metrics that call the explainer again have none.
        seed: With the keys of the images it fixes all draws.
        deadline: Value of ``time.monotonic()`` after which nothing more is begun; None never.
        on_progress: Called with what is done and in all, and its name.
    """

    metrics: tuple[MetricPlan, ...]
    references: tuple[str, ...]
    seed: int
    deadline: float | None = None
    on_progress: Callable[[int, int, str], None] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class MetricComparison:
    """One metric's answer.

    Attributes:
        plan: The metric.
        scores: Of the explainer's maps; None where time ran out before.
        references: Of each reference's maps, by name.
    """

    plan: MetricPlan
    scores: MetricScores | None = None
    references: Mapping[str, MetricScores] = field(default_factory=dict)

    def margins(self) -> dict[str, Floats]:
        """Return by how much each image's map beats that of each reference; more is better."""
        if self.scores is None:
            return {}
        sign = 1.0 if self.scores.higher_is_better else -1.0
        mine = self.scores.values
        return {name: sign * (mine - its.values) for name, its in self.references.items()}

    @property
    def margin_scale(self) -> tuple[float, float] | None:
        """Lowest and highest margin that there can be; None where scores have no bounds."""
        scale = None if self.scores is None else self.scores.scale
        return None if scale is None else (scale[0] - scale[1], scale[1] - scale[0])


@dataclass(frozen=True, kw_only=True, eq=False)
class FaithfulnessMeasurement:
    """The answer.

    Attributes:
        attribution: The explainer's maps.
        comparisons: One per metric of the plan.
        replaced_maps: Of each reference, how many maps said nothing and became random ones.
    """

    attribution: Attribution
    comparisons: tuple[MetricComparison, ...]
    replaced_maps: Mapping[str, int]


def compare_with_references(
    explainer: Explainer,
    classifier: Classifier,
    images: Images,
    targets: Labels,
    plan: ComparisonPlan,
    *,
    keys: Sequence[str],
) -> FaithfulnessMeasurement:
    """Score an explainer's maps beside those of references.

    Args:
        explainer: Makes the maps.
        classifier: Comes back as it was.
        images: (n, c, h, w) on the CPU within the classifier's bounds.
        targets: (n,) the classes that are explained.
        plan: Metrics, references, seed.
        keys: One stable name per image.

    Raises:
        InvalidInput: Something unknown or missing.
        MetricFailed: A map of the explainer that a metric has no score for; says which image.
        NonFiniteOutput: The model answered NaN or infinity.

    Cost: the explainer's, once more for the randomised model; each metric's, times one and the
        number of references.
    Randomness: fixed by the seed and the keys, not by the batch size.
    """
    with classifier.guard(seed=plan.seed):
        comparison = _Comparison(explainer, classifier, images, targets, plan, tuple(keys))
        return comparison.run()


class _Comparison:
    def __init__(
        self,
        explainer: Explainer,
        classifier: Classifier,
        images: Images,
        targets: Labels,
        plan: ComparisonPlan,
        keys: tuple[str, ...],
    ) -> None:
        self._explainer, self._classifier = explainer, classifier
        self._images, self._targets, self._keys = images, targets, keys
        self._plan = plan
        self._done = 0
        self._total = sum(1 + len(self._references_of(one)) for one in plan.metrics)
        self._attribution = self._explained(classifier, images, targets, keys)
        self._maps: dict[str, torch.Tensor] = {}
        self._replaced: dict[str, int] = {}

    def run(self) -> FaithfulnessMeasurement:
        """Everything, or what the deadline leaves time for."""
        comparisons = tuple(self._compared(plan) for plan in self._plan.metrics)
        return FaithfulnessMeasurement(
            attribution=self._attribution,
            comparisons=comparisons,
            replaced_maps=dict(self._replaced),
        )

    def _compared(self, plan: MetricPlan) -> MetricComparison:
        named = self._references_of(plan)
        found = dict(self._scored(plan, ("", *named)))
        if len(found) <= len(named):  # a comparison that lacks a reference is none
            return MetricComparison(plan=plan)
        own = found.pop("")
        return MetricComparison(plan=plan, scores=own, references=found)

    def _scored(self, plan: MetricPlan, names: Sequence[str]) -> Iterator[tuple[str, MetricScores]]:
        for name in names:
            if self._plan.deadline is not None and time.monotonic() >= self._plan.deadline:
                return
            maps = self._reference(name) if name else self._attribution.maps
            scores = measure_metric(plan, self._classifier, self._with(maps), seed=self._plan.seed)
            self._done += 1
            if self._plan.on_progress is not None:
                self._plan.on_progress(self._done, self._total, plan.label)
            yield name, scores

    def _with(self, maps: torch.Tensor) -> ExplainedImages:
        return ExplainedImages(
            images=self._images,
            targets=self._targets,
            maps=maps,
            keys=self._keys,
            explain=lambda *given: self._explained(*given).maps,
        )

    def _explained(
        self,
        classifier: Classifier,
        images: Images,
        targets: Labels,
        keys: tuple[str, ...] | None = None,
    ) -> Attribution:
        seed = self._plan.seed
        return self._explainer.explain(classifier, images, targets, keys=keys, seed=seed)

    def _references_of(self, plan: MetricPlan) -> tuple[str, ...]:
        return () if find_metric(plan.metric).needs else self._plan.references

    def _reference(self, name: str) -> torch.Tensor:
        if name not in self._maps:
            height, width = self._images.shape[-2:]
            noise = random_maps((height, width), keys=self._keys, seed=self._plan.seed)
            maps = noise if name == "random" else self._made(name)
            self._maps[name], self._replaced[name] = usable_maps(maps, noise)
        return self._maps[name]

    def _made(self, name: str) -> torch.Tensor:
        if name == "centre":
            height, width = self._images.shape[-2:]
            return centre_maps((height, width), count=len(self._images))
        if name == "edges":
            return edge_maps(self._images)
        other = randomised_copy(self._classifier, seed=self._plan.seed)
        return self._explained(other, self._images, self._targets, self._keys).maps.double()
