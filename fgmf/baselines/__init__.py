"""Baselines: what a gate measured at a time that was good, and what changed since.

`contents` is the value, `files` its form on disk, `pairing` counts what changed, `limits` says
how much may, `comparing` joins a run with its baselines, `updating` writes them, `sources`
reads two sides that lie in files, `history` keeps what was measured over commits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fgmf.baselines.comparing import (
    Comparison,
    ExpectedGates,
    compare_measured,
    compare_with_baselines,
    worst_outcome,
)
from fgmf.baselines.contents import MeasuredGate, measured_gate
from fgmf.baselines.files import BASELINE_SCHEMA, baseline_path, encode_baseline, load_baseline
from fgmf.baselines.history import (
    HISTORY_FILE,
    HistoryEntry,
    append_history,
    history_document,
    load_history,
)
from fgmf.baselines.limits import LIMIT_FORMS, Limit, LimitResult, judge_change, parse_limit
from fgmf.baselines.pairing import (
    PairedChange,
    PairedCounts,
    difference_interval,
    pair_outcomes,
    regression_p_value,
)
from fgmf.baselines.sources import compare_sources, read_source
from fgmf.baselines.updating import Update, git_refusal, git_warning, settled, update_baselines

BASELINES_DIRECTORY: Final = Path(".fgmf", "baselines")
"""Where baselines lie, beside the gate file."""

__all__ = [
    "BASELINES_DIRECTORY",
    "BASELINE_SCHEMA",
    "HISTORY_FILE",
    "LIMIT_FORMS",
    "Comparison",
    "ExpectedGates",
    "HistoryEntry",
    "Limit",
    "LimitResult",
    "MeasuredGate",
    "PairedChange",
    "PairedCounts",
    "Update",
    "append_history",
    "baseline_path",
    "compare_measured",
    "compare_sources",
    "compare_with_baselines",
    "difference_interval",
    "encode_baseline",
    "git_refusal",
    "git_warning",
    "history_document",
    "judge_change",
    "load_baseline",
    "load_history",
    "measured_gate",
    "pair_outcomes",
    "parse_limit",
    "read_source",
    "regression_p_value",
    "settled",
    "update_baselines",
    "worst_outcome",
]
