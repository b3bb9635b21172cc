"""Attacks on what policies see, by name: plain data, no torch."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

ObservationAttackName = Literal["action-flip", "least-likely-action", "worst-reachable-action"]


class ObservationAttackEntry(NamedTuple):
    """What is said of an attack.

    Attributes:
        name: In gate files.
        title: In reports.
        meaning: One line.
    """

    name: ObservationAttackName
    title: str
    meaning: str


OBSERVATION_ATTACKS: Final[Mapping[str, ObservationAttackEntry]] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            ObservationAttackEntry(
                name="action-flip",
                title="action flip",
                meaning="every agent away from the action that it would choose, by its margin",
            ),
            ObservationAttackEntry(
                name="least-likely-action",
                title="least likely action",
                meaning="every agent towards the action that it finds least likely",
            ),
            ObservationAttackEntry(
                name="worst-reachable-action",
                title="worst reachable action",
                meaning="the team to the reachable joint action after which it earns least, by "
                "playing each on to the end",
            ),
        )
    }
)
DEFAULT_OBSERVATION_ATTACKS: Final[tuple[ObservationAttackName, ...]] = (
    "action-flip",
    "least-likely-action",
    "worst-reachable-action",
)
