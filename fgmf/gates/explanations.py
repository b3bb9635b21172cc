"""How gates on explanations name explainers and metrics. No torch here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fgmf.attribution.catalogue import EXPLAINERS, explainer_names
from fgmf.faithfulness.catalogue import METRICS
from fgmf.faithfulness.replacements import ReplacementName
from fgmf.gates.problems import Misfit, misfits, one_of_the_keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import GetJsonSchemaHandler
    from pydantic_core import CoreSchema

    from fgmf.faithfulness.entries import MetricEntry
    from fgmf.parameters import Parameter, Value

Replacements = Annotated[tuple[ReplacementName, ...], Field(min_length=1)]
GATED_METRICS = tuple(
    sorted(n for n, e in METRICS.items() if e.scope == "image" and "regions" not in e.needs)
)
"""Metrics with a score for each image by itself, from what every data set has."""


class _Named(BaseModel):
    """Something of a catalogue with parameters: its name alone, or a table."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False, strict=True)

    name: str

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:  # noqa: ANN401 - unvalidated input
        if isinstance(value, str):
            return {"name": value}
        if not isinstance(value, dict):
            return value
        return {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}

    @property
    def parameters(self) -> dict[str, Value]:
        """The parameters that the user set, by name."""
        return dict(self.model_extra or {})

    def _parameter_misfits(self, known: Mapping[str, Parameter]) -> list[Misfit]:
        problems = []
        for key, value in self.parameters.items():
            parameter = known.get(key)
            if parameter is None:
                keys = sorted({*type(self).model_fields, *known})
                problems.append(Misfit(key, one_of_the_keys(keys, key), unknown_key=True))
            elif not parameter.accepts(value):
                problems.append(Misfit(key, parameter.allowed, value))
        return problems

    @staticmethod
    def _offer(table: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
        """The name alone or the table, with the names for editors."""
        offered = {"enum": list(names)}
        table["properties"]["name"] |= offered
        return {"anyOf": [{"type": "string", **offered}, table]}


class ExplainerSpecification(_Named):
    """An explainer of a gate: its name, and parameters."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Accept the name alone, and offer the names to editors."""
        return cls._offer(handler.resolve_ref_schema(handler(schema)), explainer_names())

    @model_validator(mode="after")
    def _known(self) -> ExplainerSpecification:
        entry = EXPLAINERS.get(self.name)
        if entry is None:
            allowed = f"the name of an explainer, one of {', '.join(explainer_names())}"
            raise misfits("explainer", [Misfit("name", allowed, self.name)])
        problems = self._parameter_misfits(entry.parameters)
        if problems:
            raise misfits("explainer", problems)
        return self


class MetricSpecification(_Named):
    """A metric of a gate: its name, replacements, thresholds, and parameters."""

    replacements: Replacements | None = None
    """Each is a condition of its own; None takes the gate's, or the metric's own."""
    min_score: float | None = None
    """Lowest accepted mean, for metrics where more is better."""
    max_score: float | None = None
    """Highest accepted mean, for metrics where less is better."""
    min_margin: float | None = None
    """Lowest accepted mean margin over the reference that comes nearest."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Accept the name alone, and offer the names to editors."""
        return cls._offer(handler.resolve_ref_schema(handler(schema)), GATED_METRICS)

    @model_validator(mode="after")
    def _known(self) -> MetricSpecification:
        if self.name not in GATED_METRICS:
            allowed = f"the name of a metric, one of {', '.join(GATED_METRICS)}"
            raise misfits("metric", [Misfit("name", allowed, self.name)])
        problems = [*self._parameter_misfits(self.entry.parameters), *self._threshold_misfits()]
        if problems:
            raise misfits("metric", problems)
        return self

    @property
    def entry(self) -> MetricEntry:
        """What the catalogue says of it."""
        return METRICS[self.name]

    def _threshold_misfits(self) -> list[Misfit]:
        entry, problems = self.entry, []
        wrong = "max_score" if entry.higher_is_better else "min_score"
        right = "min_score" if entry.higher_is_better else "max_score"
        given = getattr(self, wrong)
        if given is not None:
            better = "more" if entry.higher_is_better else "less"
            problems.append(Misfit(wrong, f"{right}, for {better} of it is better", given))
        if self.replacements is not None and not entry.replacement:
            allowed = f"none, for {entry.name} removes no pixels"
            problems.append(Misfit("replacements", allowed, list(self.replacements)))
        if self.min_margin is not None and entry.needs:
            allowed = f"none, for references have no explainer that {entry.name} could call again"
            problems.append(Misfit("min_margin", allowed, self.min_margin))
        return problems
