"""What a test gets as `fgmf`. The fixtures themselves stand in `plugin`, where pytest sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from pytest_fgmf.explanation_assertions import ExplanationAssertions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pytest

    from fgmf.classifier import Classifier
    from fgmf.datasets import Samples
    from fgmf.gates import AttackSpecification, ExplainerSpecification
    from fgmf.gates.specification import Gate, GateSpecification
    from fgmf.types import Norm, Population
    from fgmf.verdict import Verdict
    from pytest_fgmf.session import GateSession


class GateFixture(ExplanationAssertions):
    """What a test gets as `fgmf`: gates on the session's model and data.

    Every verdict is in the table, the report and the JUnit file of the run, whether the test
    looks at it or not.
    """

    def __init__(
        self, *, item: pytest.Item, session: GateSession, model: object, data: object
    ) -> None:
        """Take the test and what `fgmf_model` and `fgmf_data` returned."""
        self._item = item
        self._session = session
        self._model = model
        self._data = data
        self._unnamed = 0

    @property
    def classifier(self) -> Classifier:
        """The model, from the fixture `fgmf_model` or the gate file.

        Raises:
            FgmfError: There is none, or it cannot be loaded.
        """
        return self._session.classifier(self._model, name=None)

    @property
    def samples(self) -> Samples:
        """The labelled images, from the fixture `fgmf_data` or the gate file.

        Raises:
            FgmfError: There are none, or they cannot be loaded.
        """
        return self._session.samples(self._data)

    def check(self, gate: Gate) -> Verdict:
        """Measure a gate of any kind.

        Args:
            gate: A gate; without a name of its own it is named after the test.

        Returns:
            Its verdict, also where it is a FAIL or an ERROR.
        """
        from fgmf.gates.specification import needs_images
        from pytest_fgmf.outcomes import record_verdict

        gate = self._named(gate)
        model = getattr(gate, "model", None)

        def load() -> tuple[Classifier, Samples | None]:
            session = self._session
            classifier = session.classifier(self._model, name=model)
            return classifier, session.samples(self._data) if needs_images(gate) else None

        verdict = self._session.measure(gate, load, self._item)
        record_verdict(self._item, verdict, required=bool(getattr(gate, "required", False)))
        return verdict

    def assert_gate(self, gate: Gate) -> None:
        """Measure a gate of any kind and fail the test unless it passed.

        Raises:
            GateFailure: Outcome FAIL.
            GateInconclusive: Outcome INCONCLUSIVE, unless the gate lets it through.
            GateError: Outcome ERROR, which pytest shows as an error (E), not a failure.
        """
        __tracebackhide__ = True
        from pytest_fgmf.outcomes import raise_unless_passed

        raise_unless_passed(self.check(gate))

    def assert_robust(  # noqa: PLR0913 - the fields of a robustness gate, each with its type
        self,
        *,
        norm: Norm,
        epsilon: float | str,
        min_robust_accuracy: float,
        min_clean_accuracy: float | None = None,
        min_worst_class_robust_accuracy: float | None = None,
        attacks: Sequence[AttackSpecification | Mapping[str, object] | str] = (),
        suite: str | None = None,
        known_examples: str | None = None,
        restarts: int = 1,
        images: int | Literal["all"] = 500,
        sequential: bool = False,
        confidence: float = 0.95,
        population: Population = "distribution",
        max_seconds: float | None = None,
        criterion: Literal["misclassification", "targeted", "top-k"] = "misclassification",
        target: int | Literal["least-likely"] | None = None,
        top_k: int | None = None,
        explain_broken: ExplainerSpecification | Mapping[str, object] | str | None = None,
        name: str = "",
        required: bool = False,
        model: str | None = None,
        seed: int | None = None,
        waive: Sequence[str] = (),
        inconclusive: Literal["fail", "pass"] = "fail",
        save_failures: bool = True,
    ) -> None:
        """Fail the test unless the model's robust accuracy reaches a threshold.

        The arguments are the fields of :class:`fgmf.gates.RobustnessGate`. The gate is named
        after the test, so its seed, and with it the verdict, is the same in every run.

        Raises:
            GateFailure: Robust accuracy is below the threshold.
            GateInconclusive: The interval does not decide.
            GateError: It could not be measured, or an argument is wrong.
        """
        __tracebackhide__ = True
        from fgmf.gates import RobustnessGate

        values: dict[str, object] = {
            "norm": norm,
            "epsilon": epsilon,
            "min_robust_accuracy": min_robust_accuracy,
            "min_clean_accuracy": min_clean_accuracy,
            "min_worst_class_robust_accuracy": min_worst_class_robust_accuracy,
            "attacks": tuple(attacks),
            "suite": suite,
            "known_examples": known_examples,
            "restarts": restarts,
            "images": images,
            "sequential": sequential,
            "confidence": confidence,
            "population": population,
            "max_seconds": max_seconds,
            "criterion": criterion,
            "target": target,
            "top_k": top_k,
            "explain_broken": explain_broken,
            "name": name or self._next_name(),
            "required": required,
            "model": model,
            "seed": seed,
            "waive": tuple(waive),
            "inconclusive": inconclusive,
            "save_failures": save_failures,
        }
        return self._assert_specified(RobustnessGate, values)

    def assert_no_gradient_masking(  # noqa: PLR0913 - the fields of the gate, each with its type
        self,
        *,
        norm: Norm,
        epsilon: float | str,
        min_gap: float = 0.05,
        suspicious: Literal["fail", "warn"] = "fail",
        suite: str | None = None,
        images: int | Literal["all"] = 256,
        confidence: float = 0.95,
        max_seconds: float | None = None,
        name: str = "",
        required: bool = False,
        model: str | None = None,
        seed: int | None = None,
        waive: Sequence[str] = (),
        inconclusive: Literal["fail", "pass"] = "fail",
        save_failures: bool = True,
    ) -> None:
        """Fail the test if the model masks its gradients.

        The arguments are the fields of :class:`fgmf.gates.GradientMaskingGate`, which is named
        after the test.

        Raises:
            GateFailure: Robust accuracy is feigned, or the gradients are broken.
            GateInconclusive: Too few images, or too little time.
            GateError: It could not be measured, or an argument is wrong.
        """
        __tracebackhide__ = True
        from fgmf.gates import GradientMaskingGate

        values: dict[str, object] = {
            "norm": norm,
            "epsilon": epsilon,
            "min_gap": min_gap,
            "suspicious": suspicious,
            "suite": suite,
            "images": images,
            "confidence": confidence,
            "max_seconds": max_seconds,
            "name": name or self._next_name(),
            "required": required,
            "model": model,
            "seed": seed,
            "waive": tuple(waive),
            "inconclusive": inconclusive,
            "save_failures": save_failures,
        }
        return self._assert_specified(GradientMaskingGate, values)

    def replay(self, directory: Path) -> None:
        """Show saved adversarial examples to the model again.

        Args:
            directory: A gate's evidence, such as ``.fgmf/failures/robust-linf``.

        Raises:
            GateFailure: One still breaks the model.
            GateError: The evidence or the model cannot be used.
        """
        __tracebackhide__ = True
        self._settle(self._session.replay(directory, self._model))

    def _assert_specified(
        self, specification: type[GateSpecification], values: Mapping[str, object]
    ) -> None:
        """Measure the gate that the values describe; wrong ones are outcome ERROR."""
        __tracebackhide__ = True
        from fgmf.errors import InvalidGateFile

        try:
            gate = specification(**values)  # type: ignore[arg-type] # validated at run time
        except InvalidGateFile as error:
            problems = "; ".join(map(str, error.problems))
        else:
            return self.assert_gate(cast("Gate", gate))
        from fgmf.running import error_verdict

        kind = str(specification.model_fields["kind"].default)
        return self._settle(error_verdict(str(values["name"]), kind, f"invalid gate: {problems}"))

    def _named(self, gate: Gate) -> Gate:
        copy = getattr(gate, "model_copy", None)
        if gate.name or copy is None:
            return gate
        named: Gate = copy(update={"name": self._next_name()})
        return named

    def _next_name(self) -> str:
        from pytest_fgmf.naming import gate_name_for

        self._unnamed += 1
        return gate_name_for(self._item, occurrence=self._unnamed)

    def _settle(self, verdict: Verdict) -> None:
        __tracebackhide__ = True
        from pytest_fgmf.outcomes import raise_unless_passed, record_verdict

        record_verdict(self._item, verdict, required=False)
        raise_unless_passed(verdict)
