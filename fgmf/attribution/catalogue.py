"""The explainers that a gate can name, and their parameters: plain data.

Nothing heavy is imported, so a gate file can be checked without torch. `building` turns an entry
into an explainer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from fgmf.errors import InvalidInput
from fgmf.parameters import Parameter, Value

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class ExplainerEntry:
    """An explainer by name.

    Attributes:
        name: Name in gate files and reports.
        title: Name in headlines and captions.
        class_path: Module and class that carry it out.
        needs_gradient: False for methods that only ask for answers.
        random: True if another seed gives another map.
        parameters: Its parameters with defaults.
    """

    name: str
    title: str
    class_path: str
    needs_gradient: bool = True
    random: bool = False
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


OUTPUT = Parameter(
    default="log-odds",
    choices=("log-odds", "logit", "probability"),
    meaning="the number of the target class that is explained",
)

_GRADIENTS = "fgmf.attribution.gradients"

ENTRIES = (
    ExplainerEntry(
        name="gradient",
        title="Gradient",
        class_path=f"{_GRADIENTS}:Gradient",
        parameters={"output": OUTPUT},
    ),
    ExplainerEntry(
        name="gradient-times-input",
        title="Gradient x input",
        class_path=f"{_GRADIENTS}:GradientTimesInput",
        parameters={"output": OUTPUT},
    ),
)

EXPLAINERS: Mapping[str, ExplainerEntry] = MappingProxyType({e.name: e for e in ENTRIES})
"""Every explainer of this package."""


def explainer_names() -> tuple[str, ...]:
    """Return every name that can stand in a gate, sorted."""
    return tuple(sorted(EXPLAINERS))


def find_explainer(name: str) -> ExplainerEntry:
    """Return the entry of an explainer.

    Raises:
        InvalidInput: There is none of that name.
    """
    if name not in EXPLAINERS:
        known = ", ".join(explainer_names())
        raise InvalidInput(f"expected an explainer of {known}, got {name!r}")
    return EXPLAINERS[name]


def check_parameters(entry: ExplainerEntry, parameters: Mapping[str, object]) -> dict[str, Value]:
    """Return all parameters of an explainer: those that are given, and the defaults.

    Args:
        entry: The explainer.
        parameters: By name.

    Raises:
        InvalidInput: A name that it does not have, or a value outside of what is allowed.
    """
    unknown = sorted(set(parameters) - set(entry.parameters))
    if unknown:
        known = ", ".join(entry.parameters) or "none"
        message = f"expected parameters of {entry.name} among {known}, got {', '.join(unknown)}"
        raise InvalidInput(message)
    values: dict[str, Value] = {}
    for name, parameter in entry.parameters.items():
        value = parameters.get(name, parameter.default)
        if not parameter.accepts(value):
            message = f"expected {entry.name}.{name} as {parameter.allowed}, got {value!r}"
            raise InvalidInput(message)
        values[name] = value  # type: ignore[assignment] # the parameter accepts it
    return values
