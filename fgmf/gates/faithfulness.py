"""Gate kind `faithfulness`: do explanations rest on what the model uses, better than references?

In short::

    findings    = preflight(model, data)          # any unwaived error: outcome ERROR
    sample      = stratified, seeded sample of the data
    maps        = explainer on the predicted class (or the label)
    measurement = metrics under replacements, of these maps and of references, image by image
    outcome     = interval of each mean score and mean margin against its threshold
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from fgmf.gates.explanations import (
    ExplainerSpecification,
    MetricSpecification,
    Replacements,
)
from fgmf.gates.problems import Misfit, misfits
from fgmf.gates.specification import Confidence, GateSpecification, RunContext, ShownPictures
from fgmf.types import Direction, Population

if TYPE_CHECKING:
    from fgmf.classifier import Classifier
    from fgmf.types import Images, Labels
    from fgmf.verdict import Verdict

ReferenceName = Literal["random", "centre", "edges", "randomised-model"]
DEFAULT_REFERENCES: tuple[ReferenceName, ...] = ("random", "centre", "edges", "randomised-model")
DEFAULT_METRICS = ("deletion", "insertion")


class Demand(NamedTuple):
    """One threshold on one metric under one replacement."""

    metric: MetricSpecification
    replacement: str
    quantity: Literal["score", "margin"]
    threshold: float
    direction: Direction


class FaithfulnessGate(GateSpecification):
    """Metrics of explanations against thresholds and against references, with intervals.

    ``FaithfulnessGate(explainer="gradient-times-input", min_margin=0.02).check(classifier,
    images, labels)`` returns a :class:`~fgmf.verdict.Verdict`.
    """

    kind: Literal["faithfulness"] = "faithfulness"
    explainer: ExplainerSpecification
    metrics: Annotated[tuple[MetricSpecification, ...], Field(min_length=1)] = tuple(
        MetricSpecification(name=name) for name in DEFAULT_METRICS
    )
    replacements: Replacements | None = None
    """For metrics that name none; None takes each metric's own."""
    min_score: float | None = None
    """For metrics where more is better that set none."""
    max_score: float | None = None
    """For metrics where less is better that set none."""
    min_margin: float | None = None
    """For metrics that set none: mean margin over the reference that comes nearest."""
    references: tuple[ReferenceName, ...] = DEFAULT_REFERENCES
    target: Literal["prediction", "label"] = "prediction"
    """The class that is explained."""
    images: Annotated[int, Field(ge=1)] | Literal["all"] = 100
    """Size of the seeded stratified sample."""
    confidence: Confidence = 0.95
    population: Population = "distribution"
    """Whether the verdict is about the distribution behind the images or exactly this set."""
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    """Time budget; when it is spent the outcome is INCONCLUSIVE, never PASS."""
    pictures: ShownPictures = 2
    """Of how many images the evidence holds pictures, for reports; 0 for confidential images."""

    @model_validator(mode="before")
    @classmethod
    def _one_alone(cls, values: Any) -> Any:  # noqa: ANN401 - unvalidated input
        """A single metric or replacement may stand without its list."""
        if not isinstance(values, dict):
            return values
        alone = {"metrics": (str, dict), "replacements": (str,), "references": (str,)}
        changed = {
            key: (values[key],)
            for key, types in alone.items()
            if isinstance(values.get(key), types)
        }
        return {**values, **changed}

    @model_validator(mode="after")
    def _something_to_hold(self) -> FaithfulnessGate:
        problems = [
            Misfit(key, "each entry once", list(entries))
            for key, entries in (
                ("replacements", self.replacements or ()),
                ("references", self.references),
            )
            if len(set(entries)) < len(entries)
        ]
        bare = [one.name for one in self.metrics if not self._thresholds_of(one)]
        if bare:
            allowed = "a min_margin (or a min_score or max_score, by its direction) for each metric"
            problems.append(Misfit("metrics", allowed, bare))
        problems += self._idle_thresholds()
        asked = any(demand.quantity == "margin" for demand in self.demands())
        if asked and not self.references:
            problems.append(Misfit("references", "at least one, for min_margin", []))
        seen = [(d.metric.name, d.replacement, d.quantity) for d in self.demands()]
        if len(set(seen)) < len(seen):
            allowed = "each metric once under each replacement"
            problems.append(Misfit("metrics", allowed, [one.name for one in self.metrics]))
        if problems:
            raise misfits(type(self).__name__, problems)
        return self

    def _idle_thresholds(self) -> list[Misfit]:
        """Thresholds of the gate that none of its metrics takes: they would hold nothing."""
        entries = [one.entry for one in self.metrics]
        taken = {
            "min_score": (
                any(entry.higher_is_better for entry in entries),
                "max_score, for less of every metric is better",
            ),
            "max_score": (
                not all(entry.higher_is_better for entry in entries),
                "min_score, for more of every metric is better",
            ),
            "min_margin": (
                not all(entry.needs for entry in entries),
                "none, for references have no explainer that the metrics could call again",
            ),
        }
        return [
            Misfit(key, allowed, getattr(self, key))
            for key, (usable, allowed) in taken.items()
            if getattr(self, key) is not None and not usable
        ]

    def demands(self) -> tuple[Demand, ...]:
        """Every threshold of the gate, in the order of metrics and replacements."""
        return tuple(
            Demand(metric, replacement, quantity, threshold, direction)
            for metric in self.metrics
            for replacement in self.replacements_of(metric)
            for quantity, threshold, direction in self._thresholds_of(metric)
        )

    def replacements_of(self, metric: MetricSpecification) -> tuple[str, ...]:
        """Return under which replacements a metric is measured; one empty name if under none."""
        own = metric.entry.replacement
        if not own:
            return ("",)
        return metric.replacements or self.replacements or (own,)

    def _thresholds_of(
        self, metric: MetricSpecification
    ) -> list[tuple[Literal["score", "margin"], float, Direction]]:
        found: list[tuple[Literal["score", "margin"], float, Direction]] = []
        margin = metric.min_margin
        if margin is None and not metric.entry.needs:
            margin = self.min_margin
        if margin is not None:
            found.append(("margin", margin, "at-least"))
        if metric.entry.higher_is_better:
            lowest = self.min_score if metric.min_score is None else metric.min_score
            if lowest is not None:
                found.append(("score", lowest, "at-least"))
            return found
        highest = self.max_score if metric.max_score is None else metric.max_score
        if highest is not None:
            found.append(("score", highest, "at-most"))
        return found

    def check(
        self,
        classifier: Classifier,
        images: Images,
        labels: Labels,
        *,
        context: RunContext | None = None,
    ) -> Verdict:
        """Measure the metrics of the explainer's maps and judge them.

        Args:
            classifier: The model with its bounds and normalisation.
            images: (n, c, h, w) arrays or tensors within the classifier's bounds.
            labels: (n,) class indices.
            context: Run seed, progress.

        Returns:
            A verdict. What keeps the gate from being measured ends in outcome ERROR; only what
            the model itself raises on the clean images passes through, with its traceback.

        Cost: that of the explainer, and of each metric and replacement for the explainer's maps
            and those of each reference.
        """
        from fgmf.gates.faithfulness_check import check_faithfulness

        return check_faithfulness(self, classifier, images, labels, context or RunContext())
