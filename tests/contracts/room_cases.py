"""The cases of all rooms that have a module of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.attribution_cases import ATTRIBUTION_CASES, NOT_ATTRIBUTING
from contracts.export_cases import EXPORT_CASES, NOT_EXPORTING
from contracts.faithfulness_cases import FAITHFULNESS_CASES, NOT_SCORING
from contracts.masking_cases import MASKING_CASES, NOT_MASKING
from contracts.policy_cases import NOT_PLAYING, POLICY_CASES
from contracts.selftest_cases import SELFTEST_CASES
from contracts.strategy_cases import STRATEGY_CASES
from contracts.team_cases import NOT_TEAMWORK, TEAM_CASES

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.classifier import Classifier

ROOM_CASES: dict[str, Callable[[Classifier], object]] = {
    **SELFTEST_CASES,
    **STRATEGY_CASES,
    **ATTRIBUTION_CASES,
    **FAITHFULNESS_CASES,
    **MASKING_CASES,
    **EXPORT_CASES,
    **POLICY_CASES,
    **TEAM_CASES,
}
NOT_IN_ROOMS = {
    *NOT_ATTRIBUTING,
    *NOT_SCORING,
    *NOT_MASKING,
    *NOT_EXPORTING,
    *NOT_PLAYING,
    *NOT_TEAMWORK,
}
