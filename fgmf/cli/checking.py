"""`fgmf check`: run gates one by one, say each verdict at once, and all of them at the end."""

from __future__ import annotations

import os
import shlex
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fgmf.cli.baselines import ComparisonRequest, SettledBaselines, remember, settle_baselines
from fgmf.cli.exits import ExitCode, WrongUse, exit_code_of, say, worst_of
from fgmf.cli.opening import open_gate_file
from fgmf.cli.progress import ProgressLine
from fgmf.errors import InvalidInput
from fgmf.gatefile.profiles import FRESH_PROFILE
from fgmf.reporting import render_details, render_headline, render_table
from fgmf.reporting.rows import counted
from fgmf.reporting.targets import ReportTarget, report_target, write_report
from fgmf.reporting.text import shown_count
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fgmf.gatefile import GateFile
    from fgmf.gates.specification import Gate, GateSpecification
    from fgmf.processes import Processes
    from fgmf.running import GateRun
    from fgmf.types import Json
    from fgmf.verdict import Verdict

FAILURES = Path(".fgmf", "failures")
"""Where evidence lies, beside the gate file."""
CACHE = Path(".fgmf", "cache")
"""Where outcomes per image lie, beside the gate file."""
_TRACEBACK = "\nTraceback (most recent call last):"


@dataclass(frozen=True, kw_only=True)
class CheckRequest:
    """The command line of `fgmf check` and its like; None leaves a value to the gate file."""

    command: str = "check"
    path: Path | None = None
    gates: tuple[str, ...] = ()
    profile: str | None = None
    seed: int | None = None
    device: str | None = None
    batch_size: int | None = None
    reports: tuple[str, ...] = ()
    save_failures: bool = True
    cache: bool = False
    traceback: bool = False
    baselines: ComparisonRequest = field(default_factory=ComparisonRequest)
    history: Path | None = None
    on_verdict: Callable[[Verdict], None] | None = None


def run_check(request: CheckRequest) -> ExitCode:
    """Run the gates and say what came out.

    Args:
        request: The command line.

    Returns:
        The worst of all verdicts; INTERRUPTED if the run was cut short.

    Raises:
        WrongUse: A gate, a report format or a limit that there is not; or baselines would be
            written in CI.
        InvalidGateFile: The gate file is missing or broken.
        ProcessLost: A launcher started several processes, and they cannot be joined.

    Started by a launcher in several processes, all share the work of each gate, and the first
    one speaks and writes.
    """
    from fgmf.processes import joined_processes

    with joined_processes() as processes, _quiet_unless_first(processes):
        gate_file = open_gate_file(request.path, profile=request.profile)
        gates = selected_gates(gate_file, request.gates)
        return run_gates(gate_file, gates, request, processes=processes)


@contextmanager
def _quiet_unless_first(processes: Processes | None) -> Iterator[None]:
    """Let one process speak for all."""
    if processes is None or processes.rank == 0:
        yield
        return
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


def run_gates(
    gate_file: GateFile,
    gates: Sequence[GateSpecification],
    request: CheckRequest,
    *,
    processes: Processes | None = None,
) -> ExitCode:
    """Run some gates on the models and data of a gate file, and say what came out.

    Args:
        gate_file: Names models and data.
        gates: Its gates, or others about its models.
        request: The command line.
        processes: Those that share the work; the first one writes the report.

    Returns:
        The worst of all verdicts; INTERRUPTED if the run was cut short.

    Raises:
        WrongUse: A report format that there is not, or a history in a file of another kind.
    """
    first = processes is None or processes.rank == 0
    targets = _report_targets(request.reports)
    _check_history(request.history)
    wishes = request.baselines.checked()
    progress = ProgressLine()
    run = _gate_run(gate_file, request, progress, processes)
    say(_introduction(run, gates, request.path))
    if request.cache and run.settings.cache_directory is None:
        say(f"the cache is not used: profile {gate_file.profile} measures everything anew")
    verdicts, interrupted = _measure(run, gates, progress, traceback=request.traceback)
    say("")
    say(render_table(verdicts))
    say(counted(verdicts))
    for verdict in verdicts:
        if request.on_verdict is not None:
            request.on_verdict(verdict)
    settled = SettledBaselines()
    if first:
        settled = settle_baselines(
            wishes, verdicts, gate_file, partial=bool(request.gates), finished=not interrupted
        )
    remembered = SettledBaselines()
    if first and request.history is not None:
        remembered = remember(request.history, verdicts, gate_file, finished=not interrupted)
    if targets and first:
        facts: dict[str, Json] = {
            "seed": run.seed,
            "profile": gate_file.profile,
            "gate_file": _shown_path(gate_file.path),
            "gate_file_digest": gate_file.digest,
            "left_out": list(gate_file.left_out),
            **settled.facts,
            **remembered.facts,
        }
        for target in targets:
            write_report(target, verdicts, run=facts, root=Path.cwd())
            say(f"report: {target.path}")
    codes = (exit_code_of(verdicts), settled.code, remembered.code)
    return ExitCode.INTERRUPTED if interrupted else worst_of(*codes)


def show_verdict(verdict: Verdict, *, traceback: bool = True) -> None:
    """Say one verdict: its headline, and what a person needs to act on it if it did not pass.

    Args:
        verdict: Of any gate.
        traceback: Also say where an error was raised.
    """
    say(f"{verdict.outcome.upper()} {verdict.gate}: {render_headline(verdict)}")
    if verdict.outcome is Outcome.PASS:
        return
    reason, found, _ = verdict.reason.partition(_TRACEBACK)
    if found and not traceback:
        verdict = replace(verdict, reason=f"{reason}\n(--traceback shows where it was raised)")
    details = render_details(verdict).splitlines()
    say("\n".join(f"    {line}" for line in details))


def _measure(
    run: GateRun,
    gates: Sequence[GateSpecification],
    progress: ProgressLine,
    *,
    traceback: bool,
) -> tuple[list[Verdict], bool]:
    """Run the gates; those that an interruption leaves unmeasured are errors, never absent."""
    from fgmf.running import error_verdict

    verdicts: list[Verdict] = []
    try:
        for gate in gates:
            with progress.shown(gate.name):
                verdict = run.run(cast("Gate", gate))
            verdicts.append(verdict)
            show_verdict(verdict, traceback=traceback)
    except KeyboardInterrupt:
        rest = gates[len(verdicts) :]
        say(f"fgmf: interrupted, {len(rest)} of {len(gates)} gates not measured", error=True)
        reason = "interrupted before it was measured"
        return verdicts + [error_verdict(g.name, _kind(g), reason) for g in rest], True
    return verdicts, False


def _gate_run(
    gate_file: GateFile,
    request: CheckRequest,
    progress: ProgressLine,
    processes: Processes | None,
) -> GateRun:
    from fgmf.running import GateRun, RunSettings

    first = processes is None or processes.rank == 0
    failures = gate_file.path.parent / FAILURES if request.save_failures and first else None
    seed = gate_file.seed if request.seed is None else request.seed

    def reproduce(gate: str) -> str:
        path = shlex.quote(_shown_path(gate_file.path))
        command = f"fgmf {request.command} {path} --gate {shlex.quote(gate)} --seed {seed}"
        return f"{command} --profile {shlex.quote(gate_file.profile)}"

    settings = RunSettings(
        seed=request.seed,
        device=request.device,
        batch_size=request.batch_size,
        root=Path.cwd(),
        failures_directory=failures,
        on_progress=progress.update,
        reproduce=reproduce,
        processes=processes,
        cache_directory=_cache_directory(gate_file, request),
        notify=progress.note,
    )
    return GateRun(gate_file, settings)


def _cache_directory(gate_file: GateFile, request: CheckRequest) -> Path | None:
    used = request.cache and gate_file.profile != FRESH_PROFILE
    return gate_file.path.parent / CACHE if used else None


def selected_gates(gate_file: GateFile, names: Sequence[str]) -> tuple[GateSpecification, ...]:
    """Return the gates of the given names; a name without its suffix stands for all variants.

    Raises:
        WrongUse: There is no gate of a name, or the profile leaves it out.
    """
    for name in names:
        if not any(_is_meant(gate.name, name) for gate in gate_file.gates):
            left_out = any(_is_meant(other, name) for other in gate_file.left_out)
            why = f"which profile {gate_file.profile} leaves out" if left_out else "which is none"
            known = ", ".join(gate.name for gate in gate_file.gates)
            raise WrongUse(f"expected --gate as the name of a gate ({known}), got {name!r}, {why}")
    if not names:
        return gate_file.gates
    return tuple(
        gate for gate in gate_file.gates if any(_is_meant(gate.name, name) for name in names)
    )


def _is_meant(gate: str, name: str) -> bool:
    return gate == name or gate.startswith(f"{name}@")


def _report_targets(options: Sequence[str]) -> list[ReportTarget]:
    """Read ``FORM:PATH`` of every report.

    Raises:
        WrongUse: A form that there is not, no path, or a directory.
    """
    try:
        return [report_target(option) for option in options]
    except InvalidInput as error:
        raise WrongUse(f"--report: {error}") from None


def _check_history(path: Path | None) -> None:
    """Refuse to append to a file of another kind.

    Raises:
        WrongUse: The name is not that of a history.
    """
    if path is not None and path.suffix != ".jsonl":
        raise WrongUse(f"expected --history as a file that ends in .jsonl, got {path}")


def _introduction(run: GateRun, gates: Sequence[GateSpecification], typed: Path | None) -> str:
    gate_file = run.gate_file
    path = _shown_path(gate_file.path) if typed is None else str(typed)
    count = shown_count(len(gates), "gate")
    if len(gates) < len(gate_file.gates):
        count += f" of {len(gate_file.gates)}"
    lines = [f"{path}: {count}, profile {gate_file.profile}, seed {run.seed}"]
    if gate_file.left_out:
        lines.append(f"left out by the profile: {', '.join(gate_file.left_out)}")
    return "\n".join(lines)


def _shown_path(path: Path) -> str:
    """Write a path as it is called from here."""
    here = Path.cwd()
    return (path.relative_to(here) if path.is_relative_to(here) else path).as_posix()


def _kind(gate: GateSpecification) -> str:
    return str(getattr(gate, "kind", ""))
