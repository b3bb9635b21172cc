"""What a team of agents withstands: attacks on one, lies, absence, delay, messages.

`asking` asks a team and its agents through one classifier, `transferring` attacks agents one by
one (`climbing`), `faults` lets some of them lie, be missing or be late, `lying` lets some lie while
the others are attacked, `judging` holds shares against thresholds. Attacks end to end are those of
`fgmf.robustness`.
"""

from __future__ import annotations

from fgmf.team_robustness.asking import (
    STAND_INS,
    AgentRows,
    OneAlone,
    SoftTeam,
    decided,
    has_gradient,
    said_by_agents,
    team_of,
)
from fgmf.team_robustness.faults import (
    Fault,
    with_compromised,
    with_messages,
    with_missing,
    with_stale,
)
from fgmf.team_robustness.judging import THE_TEAM, Judge, unmeasured
from fgmf.team_robustness.lying import with_compromised_attacked
from fgmf.team_robustness.transferring import Transfers, measure_transfers

__all__ = [
    "STAND_INS",
    "THE_TEAM",
    "AgentRows",
    "Fault",
    "Judge",
    "OneAlone",
    "SoftTeam",
    "Transfers",
    "decided",
    "has_gradient",
    "measure_transfers",
    "said_by_agents",
    "team_of",
    "unmeasured",
    "with_compromised",
    "with_compromised_attacked",
    "with_messages",
    "with_missing",
    "with_stale",
]
