"""The metrics of explanations that can be named, and their parameters: plain data.

Nothing heavy is imported, so a gate file can be checked without torch or Quantus. `measuring`
turns a name into numbers.

Source: the definitions are those of Quantus 0.6 (Hedström et al., JMLR 24, 2023), but for
`deletion` and `insertion` (Petsiuk et al., "RISE", 2018), which are our own. What Quantus gets
wrong is mended in `quantus_bridge` and `quantus_mends`; each entry says what.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from fgmf.errors import InvalidInput
from fgmf.faithfulness.catalogue_faithfulness import FAITHFULNESS
from fgmf.faithfulness.catalogue_others import OTHERS, ROBUSTNESS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgmf.faithfulness.entries import MetricEntry
    from fgmf.parameters import Value

METRICS: Final[Mapping[str, MetricEntry]] = MappingProxyType(
    {entry.name: entry for entry in (*FAITHFULNESS, *ROBUSTNESS, *OTHERS)}
)
"""Every metric by name."""


def find_metric(name: str) -> MetricEntry:
    """Return the entry of a metric.

    Raises:
        InvalidInput: There is none of that name.
    """
    if name not in METRICS:
        raise InvalidInput(f"expected a metric of {', '.join(sorted(METRICS))}, got {name!r}")
    return METRICS[name]


def metric_parameters(entry: MetricEntry, given: Mapping[str, object]) -> dict[str, Value]:
    """Return all parameters of a metric: those that are given, and the defaults.

    Args:
        entry: The metric.
        given: Values by name.

    Raises:
        InvalidInput: A name that it does not have, or a value outside of what is allowed.
    """
    unknown = sorted(set(given) - set(entry.parameters))
    if unknown:
        known = ", ".join(entry.parameters) or "none"
        message = f"expected parameters of {entry.name} among {known}, got {', '.join(unknown)}"
        raise InvalidInput(message)
    values: dict[str, Value] = {}
    for name, parameter in entry.parameters.items():
        value = given.get(name, parameter.default)
        if not parameter.accepts(value):
            message = f"expected {entry.name}.{name} as {parameter.allowed}, got {value!r}"
            raise InvalidInput(message)
        values[name] = value  # type: ignore[assignment] # the parameter accepts it
    return values
