"""Gate kind `gradient-masking`: is robust accuracy an illusion?

In short::

    findings    = preflight(model, data)          # what masks gradients is evidence here, no error
    sample      = stratified, seeded sample of the data
    measurement = naive attacks, probes, and counter-attacks made for what the probes found
    masked      FAIL            a naive attack's robust accuracy is feigned, proven image by image
    suspicious  FAIL, or PASS with a warning, as `suspicious` says
    undecided   INCONCLUSIVE    too few images, or time ran out
    clean       PASS
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

from fgmf.attacks.suites import DEFAULT_SUITE, suite_names
from fgmf.gates.robustness import RobustnessGate, SuiteName
from fgmf.gates.specification import Confidence, GateSpecification, RunContext
from fgmf.threat import ThreatModel, parse_epsilon
from fgmf.types import Bounds, Norm

if TYPE_CHECKING:
    from fgmf.classifier import Classifier
    from fgmf.types import Images, Labels
    from fgmf.verdict import Verdict


SUFFIX = "/masking"
"""Of the name of a gate that is made beside a robustness gate."""


class GradientMaskingGate(GateSpecification):
    """Whether attacks that trust the model's gradients miss what better attacks find.

    ``GradientMaskingGate(norm="linf", epsilon="8/255").check(classifier, images, labels)``
    returns a :class:`~fgmf.verdict.Verdict`.
    """

    kind: Literal["gradient-masking"] = "gradient-masking"
    norm: Norm
    epsilon: float | str
    """In the units of the model's bounds; a number, or text such as ``"8/255"``."""
    min_gap: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.05
    """Robust accuracy that must be feigned for a FAIL; honest models show up to 0.04."""
    suspicious: Literal["fail", "warn"] = "fail"
    """What a model gets whose gradients are broken, where no attack proves a gap."""
    suite: SuiteName | None = None
    """The suite of the robustness gate that this one stands beside: is it fooled, too?"""
    images: Annotated[int, Field(ge=1)] | Literal["all"] = 256
    """Size of the seeded stratified sample."""
    confidence: Confidence = 0.95
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    """Time budget; when it is spent nothing new is begun, and without a proof the outcome is
    INCONCLUSIVE."""

    @field_validator("epsilon")
    @classmethod
    def _epsilon(cls, value: float | str) -> float | str:
        parse_epsilon(value)
        return value

    @field_validator("suite")
    @classmethod
    def _known_suite(cls, value: str | None) -> str | None:
        if value is not None and value not in suite_names():
            raise ValueError(f"the name of a suite, one of {', '.join(suite_names())}")
        return value

    def threat_model(self, bounds: Bounds) -> ThreatModel:
        """Return the threat model of this gate for images within `bounds`."""
        return ThreatModel(norm=self.norm, epsilon=parse_epsilon(self.epsilon), bounds=bounds)

    @classmethod
    def beside(cls, gate: RobustnessGate) -> GradientMaskingGate:
        """Return the gate that asks whether a robustness gate's number is an illusion."""
        return cls(
            name=f"{gate.name or gate.kind}{SUFFIX}",
            norm=gate.norm,
            epsilon=gate.epsilon,
            suite=gate.suite,
            model=gate.model,
            seed=gate.seed,
            waive=gate.waive,
        )

    @property
    def suite_or_default(self) -> str:
        """The suite whose verdict is checked."""
        return self.suite or DEFAULT_SUITE

    def check(
        self,
        classifier: Classifier,
        images: Images,
        labels: Labels,
        *,
        context: RunContext | None = None,
    ) -> Verdict:
        """Examine the model and judge it.

        Args:
            classifier: The model with its bounds and normalisation. Without gradients (an ONNX
                file) only attacks on scores are compared.
            images: (n, ...) arrays or tensors within the classifier's bounds.
            labels: (n,) class indices.
            context: Run seed, progress, where failures are saved.

        Returns:
            A verdict. What keeps the gate from being measured ends in outcome ERROR.

        Cost: see :func:`fgmf.gradient_masking.measure_gradient_masking`.
        """
        from fgmf.gates.gradient_masking_check import check_gradient_masking

        return check_gradient_masking(self, classifier, images, labels, context or RunContext())
