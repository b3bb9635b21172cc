"""Gate kind `corruption`: accuracy under common corruptions against a threshold.

In short::

    findings    = preflight(model, data)          # any unwaived error: outcome ERROR
    sample      = stratified, seeded sample of the data
    measurement = every image under every corruption at every severity
    good        = right without a corruption and under all of them
    outcome     = exact interval against each threshold
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator, model_validator

from fgmf.corruptions.catalogue import DEFAULT_CORRUPTIONS, CorruptionName, Severity
from fgmf.gates.problems import Misfit, misfits
from fgmf.gates.specification import Confidence, GateSpecification, RunContext, Share
from fgmf.types import Population

if TYPE_CHECKING:
    from fgmf.classifier import Classifier
    from fgmf.types import Images, Labels
    from fgmf.verdict import Verdict


class CorruptionGate(GateSpecification):
    """Share of images that no corruption at any listed severity breaks, with an interval.

    ``CorruptionGate(min_corruption_accuracy=0.6, severities=(1, 2)).check(classifier, images,
    labels)`` returns a :class:`~fgmf.verdict.Verdict`.
    """

    kind: Literal["corruption"] = "corruption"
    min_corruption_accuracy: Share
    """On the worst case: images that are right without a corruption and under all of them."""
    min_mean_corruption_accuracy: Share | None = None
    """On the mean over images, corruptions and severities."""
    min_clean_accuracy: Share | None = None
    corruptions: Annotated[tuple[CorruptionName, ...], Field(min_length=1)] = DEFAULT_CORRUPTIONS
    severities: Annotated[tuple[Severity, ...], Field(min_length=1)] = (1, 3)
    images: Annotated[int, Field(ge=1)] | Literal["all"] = 500
    """Size of the seeded stratified sample."""
    confidence: Confidence = 0.95
    population: Population = "distribution"
    """Whether the verdict is about the distribution behind the images or exactly this set."""
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    """Time budget; when it is spent the outcome is INCONCLUSIVE, never PASS."""

    @field_validator("severities", mode="before")
    @classmethod
    def _no_booleans(cls, value: object) -> object:
        """To Python, true is 1."""
        if isinstance(value, tuple) and any(isinstance(entry, bool) for entry in value):
            raise ValueError("expected whole numbers from 1 to 5, got true or false")
        return value

    @model_validator(mode="after")
    def _distinct(self) -> CorruptionGate:
        """One that is listed twice would weigh twice in the mean."""
        lists = {"corruptions": self.corruptions, "severities": self.severities}
        problems = [
            Misfit(key, "each entry once", list(entries))
            for key, entries in lists.items()
            if len(set(entries)) < len(entries)
        ]
        if problems:
            raise misfits(type(self).__name__, problems)
        return self

    def check(
        self,
        classifier: Classifier,
        images: Images,
        labels: Labels,
        *,
        context: RunContext | None = None,
    ) -> Verdict:
        """Measure accuracy under corruptions and judge it.

        Args:
            classifier: The model with its bounds and normalisation; needs no gradient.
            images: (n, c, h, w) arrays or tensors within the classifier's bounds.
            labels: (n,) class indices.
            context: Run seed, progress, where failures are saved.

        Returns:
            A verdict. What keeps the gate from being measured ends in outcome ERROR; only what
            the model itself raises on the clean images passes through, with its traceback.

        Cost: a forward for each image, corruption and severity, and at most three more.
        """
        from fgmf.gates.corruption_check import check_corruptions

        return check_corruptions(self, classifier, images, labels, context or RunContext())
