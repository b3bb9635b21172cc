"""What a test can demand of explanations: part of the fixture `fgmf`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fgmf.faithfulness.replacements import ReplacementName
    from fgmf.gates import ExplainerSpecification, MetricSpecification
    from fgmf.gates.faithfulness import ReferenceName
    from fgmf.gates.specification import GateSpecification
    from fgmf.types import Population


class ExplanationAssertions(ABC):
    """Gates on explanations, with the fields of each as arguments."""

    @abstractmethod
    def _next_name(self) -> str:
        """Name of the next gate of the test."""

    @abstractmethod
    def _assert_specified(
        self, specification: type[GateSpecification], values: Mapping[str, object]
    ) -> None:
        """Measure the gate that the values describe, and fail the test unless it passed."""

    def assert_faithful(  # noqa: PLR0913 - the fields of a faithfulness gate, each with its type
        self,
        *,
        explainer: ExplainerSpecification | Mapping[str, object] | str,
        metrics: Sequence[MetricSpecification | Mapping[str, object] | str] | str | None = None,
        replacements: Sequence[ReplacementName] | ReplacementName | None = None,
        min_score: float | None = None,
        max_score: float | None = None,
        min_margin: float | None = None,
        references: Sequence[ReferenceName] | None = None,
        target: Literal["prediction", "label"] = "prediction",
        images: int | Literal["all"] = 100,
        confidence: float = 0.95,
        population: Population = "distribution",
        max_seconds: float | None = None,
        pictures: int = 2,
        name: str = "",
        required: bool = False,
        model: str | None = None,
        seed: int | None = None,
        waive: Sequence[str] = (),
        inconclusive: Literal["fail", "pass"] = "fail",
    ) -> None:
        """Fail the test unless explanations are faithful, by metrics and beside references.

        The arguments are the fields of :class:`fgmf.gates.FaithfulnessGate`; None takes the
        gate's default. The gate is named after the test.

        Raises:
            GateFailure: A threshold is missed.
            GateInconclusive: An interval does not decide.
            GateError: It could not be measured, or an argument is wrong.
        """
        __tracebackhide__ = True
        from fgmf.gates import FaithfulnessGate

        values: dict[str, object] = {
            "explainer": explainer,
            "min_score": min_score,
            "max_score": max_score,
            "min_margin": min_margin,
            "target": target,
            "images": images,
            "confidence": confidence,
            "population": population,
            "pictures": pictures,
            "max_seconds": max_seconds,
            "name": name or self._next_name(),
            "required": required,
            "model": model,
            "seed": seed,
            "waive": tuple(waive),
            "inconclusive": inconclusive,
        }
        listed = {"metrics": metrics, "replacements": replacements, "references": references}
        for key, value in listed.items():
            if value is not None:
                values[key] = value if isinstance(value, str) else tuple(value)
        return self._assert_specified(FaithfulnessGate, values)

    def assert_explanations_stable(  # noqa: PLR0913 - the fields of the gate, each with its type
        self,
        *,
        explainer: ExplainerSpecification | Mapping[str, object] | str,
        similarity: Literal["spearman", "cosine", "ssim"] = "spearman",
        noise: float | None = None,
        min_noise_similarity: float | None = None,
        epsilon: float | str | None = None,
        min_adversarial_similarity: float | None = None,
        copies: int = 5,
        corners: int = 3,
        steps: int = 12,
        random_corners_alone: bool = False,
        images: int | Literal["all"] = 100,
        confidence: float = 0.95,
        population: Population = "distribution",
        pictures: int = 2,
        name: str = "",
        required: bool = False,
        model: str | None = None,
        seed: int | None = None,
        waive: Sequence[str] = (),
        inconclusive: Literal["fail", "pass"] = "fail",
    ) -> None:
        """Fail the test unless explanations stay the same where the prediction does.

        The arguments are the fields of :class:`fgmf.gates.ExplanationStabilityGate`. The gate is
        named after the test.

        Raises:
            GateFailure: A threshold is missed.
            GateInconclusive: An interval does not decide.
            GateError: It could not be measured, or an argument is wrong.
        """
        __tracebackhide__ = True
        from fgmf.gates import ExplanationStabilityGate

        values: dict[str, object] = {
            "explainer": explainer,
            "similarity": similarity,
            "noise": noise,
            "min_noise_similarity": min_noise_similarity,
            "epsilon": epsilon,
            "min_adversarial_similarity": min_adversarial_similarity,
            "copies": copies,
            "corners": corners,
            "steps": steps,
            "random_corners_alone": random_corners_alone,
            "images": images,
            "confidence": confidence,
            "population": population,
            "pictures": pictures,
            "name": name or self._next_name(),
            "required": required,
            "model": model,
            "seed": seed,
            "waive": tuple(waive),
            "inconclusive": inconclusive,
        }
        return self._assert_specified(ExplanationStabilityGate, values)
