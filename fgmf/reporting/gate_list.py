"""Gates as they are asked for, before anything is measured."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from fgmf.reporting.table import aligned
from fgmf.reporting.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.gates.specification import GateSpecification

_COLUMNS: Final = ("gate", "kind", "required", "asks")
_SHOWN_ELSEWHERE: Final = frozenset({"name", "kind", "required"})


def render_gate_list(gates: Sequence[GateSpecification]) -> str:
    """Write one line per gate: its name, its kind, whether it must run, and what it says.

    Args:
        gates: Of a gate file.

    Returns:
        Aligned printable lines under a heading; what a gate leaves at its default is not shown.
        Empty if there are none.
    """
    if not gates:
        return ""
    rows = [_COLUMNS, *(_row(gate) for gate in gates)]
    return aligned(rows, right=())


def _row(gate: GateSpecification) -> tuple[str, ...]:
    said = gate.model_dump(mode="json", exclude_unset=True)
    asks = ", ".join(
        f"{name}={_shown(value)}" for name, value in said.items() if name not in _SHOWN_ELSEWHERE
    )
    kind = printable(str(getattr(gate, "kind", "")))
    return printable(gate.name), kind, "yes" if gate.required else "", printable(asks)


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
