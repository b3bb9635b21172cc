"""Run the gates of a gate file, or any gate on a given model: always a verdict at the end.

    models, data   loaded when the first gate needs them, once per run   (`run`, `factories`)
    gate.check     measured and judged                                   (`measuring`)
    any exception  from a factory or a gate: a verdict with outcome ERROR

Nothing that a user's code raises comes out, except what stops a program on purpose
(`KeyboardInterrupt`, and what a test framework raises to skip).
"""

from __future__ import annotations

from fgmf.running.factories import importing_from
from fgmf.running.measuring import error_verdict, gate_name, limit_threads, run_gate
from fgmf.running.origin import recorded_gate_file
from fgmf.running.replaying import replay_failures
from fgmf.running.run import GateRun, RunSettings, adjusted

__all__ = [
    "GateRun",
    "RunSettings",
    "adjusted",
    "error_verdict",
    "gate_name",
    "importing_from",
    "limit_threads",
    "recorded_gate_file",
    "replay_failures",
    "run_gate",
]
