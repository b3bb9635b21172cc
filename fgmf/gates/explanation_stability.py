"""Gate kind `explanation-stability`: do maps stay the same where the prediction does?

In short::

    findings    = preflight(model, data)          # any unwaived error: outcome ERROR
    sample      = stratified, seeded sample of the data
    measurement = similarity of each image's map with those under noise and within epsilon
    outcome     = interval of each mean similarity against its threshold
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator, model_validator

from fgmf.gates.explanations import ExplainerSpecification
from fgmf.gates.problems import Misfit, misfits
from fgmf.gates.specification import Confidence, GateSpecification, RunContext, ShownPictures
from fgmf.threat import parse_epsilon
from fgmf.types import Population

if TYPE_CHECKING:
    from fgmf.classifier import Classifier
    from fgmf.types import Images, Labels
    from fgmf.verdict import Verdict

_Similarity = Annotated[float, Field(ge=-1.0, le=1.0)]


class ExplanationStabilityGate(GateSpecification):
    """Similarity of maps under small noise, and under changes within epsilon, with intervals.

    ``ExplanationStabilityGate(explainer="gradient", noise=0.05, min_noise_similarity=0.6)
    .check(classifier, images, labels)`` returns a :class:`~fgmf.verdict.Verdict`.
    """

    kind: Literal["explanation-stability"] = "explanation-stability"
    explainer: ExplainerSpecification
    similarity: Literal["spearman", "cosine", "ssim"] = "spearman"
    """How two maps are compared; 1 is the same map."""
    noise: Annotated[float, Field(gt=0)] | None = None
    """Deviation of Gaussian noise, in the units of the bounds."""
    min_noise_similarity: _Similarity | None = None
    """On the mean over images and noisy copies."""
    epsilon: float | str | None = None
    """Largest change of a pixel, in the units of the bounds; a number or text like "8/255"."""
    min_adversarial_similarity: _Similarity | None = None
    """On the mean over images of the least similar map that keeps the prediction."""
    copies: Annotated[int, Field(ge=1)] = 5
    """Noisy copies of each image."""
    corners: Annotated[int, Field(ge=1)] = 3
    """Random corners of the ball around each image."""
    steps: Annotated[int, Field(ge=3)] = 12
    """Steps of each of the two walks along the loss."""
    random_corners_alone: bool = False
    """Whether random corners may stand for the search within epsilon where the model has no
    gradients; without it such a gate is an ERROR."""
    images: Annotated[int, Field(ge=1)] | Literal["all"] = 100
    """Size of the seeded stratified sample."""
    confidence: Confidence = 0.95
    population: Population = "distribution"
    """Whether the verdict is about the distribution behind the images or exactly this set."""
    pictures: ShownPictures = 2
    """Of how many images the evidence holds pictures, for reports; 0 for confidential images."""

    @field_validator("epsilon")
    @classmethod
    def _epsilon(cls, value: float | str | None) -> float | str | None:
        if value is not None:
            parse_epsilon(value)
        return value

    @model_validator(mode="after")
    def _pairs(self) -> ExplanationStabilityGate:
        """What is measured has a threshold, and what has a threshold is measured."""
        pairs = (
            ("noise", self.noise, "min_noise_similarity", self.min_noise_similarity),
            (
                "epsilon",
                self.epsilon,
                "min_adversarial_similarity",
                self.min_adversarial_similarity,
            ),
        )
        problems = []
        for key, value, threshold_key, threshold in pairs:
            if value is not None and threshold is None:
                problems.append(Misfit(threshold_key, f"a threshold, for {key} is given"))
            if value is None and threshold is not None:
                problems.append(Misfit(key, f"a size, for {threshold_key} is given"))
        if all(value is None for _, value, _, _ in pairs) and not problems:
            allowed = "noise with min_noise_similarity, or epsilon with min_adversarial_similarity"
            problems.append(Misfit("noise", allowed))
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
        """Measure how stable the explainer's maps are and judge it.

        Args:
            classifier: The model with its bounds and normalisation.
            images: (n, c, h, w) arrays or tensors within the classifier's bounds.
            labels: (n,) class indices; they stratify the sample alone.
            context: Run seed, progress.

        Returns:
            A verdict. What keeps the gate from being measured ends in outcome ERROR; only what
            the model itself raises on the clean images passes through, with its traceback.

        Cost: that of the explainer for each noisy copy and each candidate (corners and 6).
        """
        from fgmf.gates.explanation_stability_check import check_stability

        return check_stability(self, classifier, images, labels, context or RunContext())
