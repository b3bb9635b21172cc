"""The tables of verdicts on teams: agents attacked alone, transfer, and agents at fault."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.reporting.evidence import integer_of, number_of, records_of, text_of
from fgmf.reporting.text import printable, shown_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fgmf.types import Json
    from fgmf.verdict import Verdict

_FAULTS = {
    "compromised": "compromised, saying anything",
    "compromised_robust": "compromised, the others attacked",
    "missing": "missing",
    "stale": "late by one image",
    "messages": "sending any message",
}
_WORST = 3


def render_team(verdict: Verdict) -> Iterable[str]:
    """Write what was found of a team's members.

    Args:
        verdict: Of any gate kind.

    Yields:
        Printable lines; none where the evidence is about no team.
    """
    team = verdict.evidence.get("team")
    if not isinstance(team, dict):
        return
    through = team.get("attacked_through")
    names = ", ".join(printable(str(name)) for name in through) if isinstance(through, list) else ""
    yield f"team: decides by {text_of(team, 'rule')}; attacked through {names}"
    yield from _agents(records_of(verdict.evidence, "team_agents"))
    yield from _faults(records_of(verdict.evidence, "team_faults"))


def _agents(rows: list[Mapping[str, Json]]) -> Iterable[str]:
    if not rows:
        return
    yield "agents, each attacked alone (share of what others get right that this breaks):"
    width = max(len(text_of(row, "name")) for row in rows)
    for row in rows:
        shares = row.get("transfer")
        transfer = dict(shares) if isinstance(shares, dict) else {}
        others = [
            f"{printable(name)} {_shown(transfer, name)}"
            for name in transfer
            if name != text_of(row, "name")
        ]
        alone = f"clean {_shown(row, 'clean_accuracy')}, robust {_shown(row, 'robust_accuracy')}"
        yield f"  {text_of(row, 'name'):<{width}}  {alone}; breaks {', '.join(others)}"


def _faults(rows: list[Mapping[str, Json]]) -> Iterable[str]:
    if not rows:
        return
    yield "agents at fault, whichever they are:"
    for row in rows:
        name, count = text_of(row, "name"), integer_of(row, "count")
        by_agents = row.get("by_agents")
        single = dict(by_agents) if isinstance(by_agents, dict) else {}
        ordered = sorted(single, key=lambda names: number_of(single, names) or 0.0)
        worst = ", ".join(f"{printable(n)} {_shown(single, n)}" for n in ordered[:_WORST])
        how = text_of(row, "worst_case")
        what = _FAULTS.get(name, printable(name))
        yield f"  {count} {what}: {_shown(row, 'accuracy')} ({how}; {worst})"


def _shown(record: Mapping[str, Json], key: str) -> str:
    value = number_of(record, key)
    return "-" if value is None else shown_number(value)
