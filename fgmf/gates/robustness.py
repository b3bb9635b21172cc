"""Gate kind `robustness`: robust accuracy under named attacks against a threshold.

In short::

    findings    = preflight(model, data)          # any unwaived error: outcome ERROR
    sample      = stratified, seeded sample of the data
    measurement = worst case per image over attacks and restarts, re-verified
    outcome     = exact interval against each threshold
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from fgmf.attacks.catalogue import attack_names
from fgmf.attacks.suites import suite_names
from fgmf.gates.explanations import ExplainerSpecification
from fgmf.gates.problems import Misfit, misfits, one_of_the_keys
from fgmf.gates.robustness_attacks import attack_entry, attack_misfits
from fgmf.gates.specification import Confidence, GateSpecification, RunContext, Share
from fgmf.threat import ThreatModel, parse_epsilon
from fgmf.types import Bounds, Norm, Population

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic_core import CoreSchema

    from fgmf.classifier import Classifier
    from fgmf.types import Images, Labels
    from fgmf.verdict import Verdict

Count = Annotated[int, Field(ge=1)]


def _offer_suites(schema: dict[str, Any]) -> None:
    """Offer the names of suites to editors."""
    schema["enum"] = list(suite_names())


SuiteName = Annotated[str, Field(json_schema_extra=_offer_suites)]


class AttackSpecification(BaseModel):
    """One attack of a gate: its name, restarts, and parameters (`{name = "pgd", steps = 20}`)."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False, strict=True)

    name: str
    restarts: Count | None = None
    """Independent random starts; None takes the gate's."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:  # noqa: ANN401 - unvalidated input
        return {"name": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Accept the name alone, and offer the names to editors."""
        table = handler.resolve_ref_schema(handler(schema))
        names = {"enum": list(attack_names())}
        table["properties"]["name"] |= names
        return {"anyOf": [{"type": "string", **names}, table]}

    @model_validator(mode="after")
    def _known(self) -> AttackSpecification:
        entry = attack_entry(self.name)
        if isinstance(entry, Misfit):
            raise misfits("attack", [entry])
        problems: list[Misfit] = []
        for key, value in self.parameters.items():
            parameter = entry.parameters.get(key)
            if parameter is None:
                keys = sorted({"name", "restarts", *entry.parameters})
                problems.append(Misfit(key, one_of_the_keys(keys, key), unknown_key=True))
            elif not parameter.accepts(value):
                problems.append(Misfit(key, parameter.allowed, value))
        if problems:
            raise misfits("attack", problems)
        return self

    @property
    def parameters(self) -> dict[str, bool | int | float | str]:
        """The parameters that the user set, by name."""
        return dict(self.model_extra or {})


class RobustnessGate(GateSpecification):
    """Robust accuracy over all images, worst case per image over attacks, with an interval.

    ``RobustnessGate(norm="linf", epsilon=8 / 255, min_robust_accuracy=0.45).check(classifier,
    images, labels)`` returns a :class:`~fgmf.verdict.Verdict`.
    """

    kind: Literal["robustness"] = "robustness"
    norm: Norm
    epsilon: float | str
    """Budget in the units of the classifier's bounds; a number or text like "8/255"."""
    min_robust_accuracy: Share
    min_clean_accuracy: Share | None = None
    min_worst_class_robust_accuracy: Share | None = None
    attacks: tuple[AttackSpecification, ...] = ()
    """Attacks in order; none means those of the suite."""
    suite: SuiteName | None = None
    """Suite of attacks; without one and without attacks, the default suite."""
    known_examples: str | None = None
    """Directory of saved failures, relative to the gate file's, that are shown first."""
    restarts: Count = 1
    """Independent random starts of each attack that draws."""
    images: Count | Literal["all"] = 500
    """Size of the seeded stratified sample; with `sequential`, the most that are measured."""
    sequential: bool = False
    """Measure images in a seeded random order and stop as soon as the verdict is decided."""
    confidence: Confidence = 0.95
    population: Population = "distribution"
    """Whether the verdict is about the distribution behind the images or exactly this set."""
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    """Time budget; when it is spent the outcome is INCONCLUSIVE, never PASS."""
    criterion: Literal["misclassification", "targeted", "top-k"] = "misclassification"
    target: Annotated[int, Field(ge=0)] | Literal["least-likely"] | None = None
    """Target class of the targeted criterion."""
    top_k: Count | None = None
    """k of the top-k criterion: an image is broken when its label is not among the top k."""
    explain_broken: ExplainerSpecification | None = None
    """Explainer that draws what decisions rest on before and after an attack, for reports."""

    @field_validator("epsilon")
    @classmethod
    def _epsilon(cls, value: float | str) -> float | str:
        parse_epsilon(value)
        return value

    @field_validator("suite")
    @classmethod
    def _known_suite(cls, value: str | None) -> str | None:
        """Here, and not only where keys are held together: said with all other problems."""
        if value is not None and value not in suite_names():
            raise ValueError(f"the name of a suite, one of {', '.join(suite_names())}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> RobustnessGate:
        problems = list(attack_misfits(self))
        if (self.criterion == "targeted") != (self.target is not None):
            allowed = "a class together with criterion = 'targeted', and only then"
            problems.append(Misfit("target", allowed, self.target))
        if (self.criterion == "top-k") != (self.top_k is not None):
            allowed = "a number together with criterion = 'top-k', and only then"
            problems.append(Misfit("top_k", allowed, self.top_k))
        if problems:
            raise misfits(type(self).__name__, problems)
        return self

    def threat_model(self, bounds: Bounds) -> ThreatModel:
        """Return the threat model of this gate for images within `bounds`."""
        return ThreatModel(norm=self.norm, epsilon=parse_epsilon(self.epsilon), bounds=bounds)

    def check(
        self,
        classifier: Classifier,
        images: Images,
        labels: Labels,
        *,
        context: RunContext | None = None,
    ) -> Verdict:
        """Measure robust accuracy and judge it.

        Args:
            classifier: The model with its bounds and normalisation.
            images: (n, ...) arrays or tensors within the classifier's bounds.
            labels: (n,) class indices.
            context: Run seed, progress, where failures are saved.

        Returns:
            A verdict. What keeps the gate from being measured ends in outcome ERROR; only what
            the model itself raises on the clean images passes through, with its traceback.

        Cost: for each attack and restart, its passes on every image not yet broken, one
            forward to judge and one more to re-verify each broken image.
        """
        from fgmf.gates.robustness_check import check_robustness

        return check_robustness(self, classifier, images, labels, context or RunContext())
