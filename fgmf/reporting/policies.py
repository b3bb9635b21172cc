"""The table of a policy-return verdict: what the team earns, attack by attack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.reporting.evidence import integer_of, number_of, records_of, text_of
from fgmf.reporting.text import shown_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fgmf.types import Json
    from fgmf.verdict import Verdict


def render_returns(verdict: Verdict) -> Iterable[str]:
    """Write a line for each attack: mean return, success, decisions that it changed.

    Args:
        verdict: Of any gate kind.

    Yields:
        Printable lines; none where the evidence holds no returns.
    """
    rows = records_of(verdict.evidence, "returns")
    if not rows:
        return
    yield "return by attack:"
    width = max(len(text_of(row, "title")) for row in rows)
    for row in rows:
        lowered = integer_of(row, "lowered")
        parts = [
            f"success {_shown(row, 'success_rate')}",
            f"steps {_shown(row, 'mean_length')}",
        ]
        if row is not rows[0]:
            parts.append(f"changed {_shown(row, 'changed_decisions')} of all decisions")
            parts.append(f"lowered {lowered} episodes")
        title = text_of(row, "title")
        yield f"  {title:<{width}}  {_shown(row, 'mean_return')}  ({', '.join(parts)})"


def _shown(record: Mapping[str, Json], key: str) -> str:
    value = number_of(record, key)
    return "-" if value is None else shown_number(value)
