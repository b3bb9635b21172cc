"""What a team-robustness verdict rests on: evidence for its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.gates.robustness_evidence import evidence_of
from fgmf.team_robustness import THE_TEAM, team_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.classifier import Classifier
    from fgmf.gates.robustness import RobustnessGate
    from fgmf.gates.subject import MeasuredImages
    from fgmf.robustness import RobustnessMeasurement
    from fgmf.team_robustness import Fault, Transfers
    from fgmf.types import Json


def evidence_of_team(  # noqa: PLR0913 - everything that was measured
    attacked: RobustnessGate,
    whole: RobustnessMeasurement,
    transfers: Transfers | None,
    faults: Sequence[Fault],
    measured: MeasuredImages,
    classifier: Classifier,
    *,
    stand_ins: bool,
) -> dict[str, Json]:
    """Return the measured values for people and programs; they depend on the seed alone.

    Args:
        attacked: The robustness gate that the team was attacked as.
        whole: What that measured.
        transfers: Attacks on single agents; None where time ran out.
        faults: Agents at fault.
        measured: The images.
        classifier: Around the team.
        stand_ins: The rule has no gradient: attacks went through stand-ins for it.
    """
    team = team_of(classifier)
    threat = attacked.threat_model(classifier.bounds)
    evidence = evidence_of(attacked, whole, measured, threat, classifier)
    agents: list[Json] = [] if transfers is None else _agents(transfers)
    return evidence | {
        "team": {
            "agents": list(team.names),
            "rule": team.rule_name,
            "messages": team.messages is not None,
            "attacked_through": list(_THROUGH) if stand_ins else ["the rule itself"],
        },
        "team_agents": agents,
        "team_faults": [_fault(fault) for fault in faults],
        "broken_through_agents": 0
        if transfers is None
        else sum(one.attack.startswith("transfer from ") for one in whole.examples),
    }


_THROUGH = ("mean of log-probabilities", "soft votes", "median")


def _agents(transfers: Transfers) -> list[Json]:
    """A row per agent: alone, attacked alone, and what that attack does to everyone."""
    names = (*transfers.names, THE_TEAM)
    rows: list[Json] = []
    for number, name in enumerate(transfers.names):
        counts = [transfers.counts(number, other) for other in range(len(names))]
        shares: dict[str, Json] = {
            other: None if of == 0 else broken / of
            for other, (broken, of) in zip(names, counts, strict=True)
        }
        rows.append(
            {
                "name": name,
                "clean_accuracy": _share(transfers.right_before[number].tolist()),
                "robust_accuracy": _share(transfers.robust_alone[number].tolist()),
                "transfer": shares,
            }
        )
    return rows


def _fault(fault: Fault) -> dict[str, Json]:
    by_agents: dict[str, Json] = {
        names: _share(right.tolist()) for names, right in fault.right_by_agents.items()
    }
    return {
        "name": fault.name,
        "count": fault.count,
        "accuracy": _share(fault.right.tolist()),
        "by_agents": by_agents,
        "worst_case": "exact" if fault.exact else "searched",
    }


def _share(flags: list[bool]) -> float:
    return sum(flags) / len(flags)
