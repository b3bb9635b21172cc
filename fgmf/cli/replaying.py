"""`fgmf replay`: saved evidence against the model as it is now."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fgmf.cli.checking import show_verdict
from fgmf.cli.exits import ExitCode, WrongUse, exit_code_of
from fgmf.cli.opening import open_gate_file
from fgmf.cli.progress import ProgressLine
from fgmf.failures.layout import RECORD

if TYPE_CHECKING:
    from fgmf.running import GateRun
    from fgmf.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class ReplayRequest:
    """The command line of `fgmf replay`.

    Attributes:
        directory: A gate's evidence, or a directory of such.
        gate_file: Names the models; None is the one that the evidence names, else the one of
            the working directory.
        seed: Seed of the repeated attack; None is the recorded one.
        device: Device of every model; None leaves it to the file.
        batch_size: Likewise.
        traceback: Also say where an error was raised.
    """

    directory: Path
    gate_file: Path | None = None
    seed: int | None = None
    device: str | None = None
    batch_size: int | None = None
    traceback: bool = False


def run_replay(request: ReplayRequest) -> ExitCode:
    """Replay the evidence of one gate, or of every gate below a directory.

    Args:
        request: The command line.

    Returns:
        The worst of all verdicts.

    Raises:
        WrongUse: There is no evidence.
        InvalidGateFile: A gate file is missing or broken.
    """
    directories = _evidence_in(request.directory)
    runs: dict[Path | None, GateRun] = {}
    verdicts = []
    for directory in directories:
        verdict = _replayed(directory, _run_for(directory, request, runs), request)
        verdicts.append(verdict)
        show_verdict(verdict, traceback=request.traceback)
    return exit_code_of(verdicts)


def _run_for(directory: Path, request: ReplayRequest, runs: dict[Path | None, GateRun]) -> GateRun:
    """Return the run of the gate file that the evidence is about, one for each file."""
    from fgmf.running import GateRun, RunSettings, recorded_gate_file

    path = request.gate_file or recorded_gate_file(directory, root=Path.cwd())
    if path not in runs:
        settings = RunSettings(device=request.device, batch_size=request.batch_size)
        runs[path] = GateRun(open_gate_file(path), settings)
    return runs[path]


def _replayed(directory: Path, run: GateRun, request: ReplayRequest) -> Verdict:
    from fgmf.running import importing_from, replay_failures

    progress = ProgressLine()
    with importing_from(run.gate_file.path.parent), progress.shown(directory.name):
        verdict = replay_failures(
            directory, run.classifier, seed=request.seed, on_progress=progress.update
        )
    if request.gate_file is None or not verdict.reproduce:
        return verdict
    return replace(
        verdict, reproduce=f"{verdict.reproduce} --gate-file {shlex.quote(str(request.gate_file))}"
    )


def _evidence_in(directory: Path) -> list[Path]:
    """Return directories of evidence: this one, or those directly below."""
    if (directory / RECORD).is_file():
        return [directory]
    below = sorted(directory.iterdir()) if directory.is_dir() else []
    found = [entry for entry in below if (entry / RECORD).is_file()]
    if not found:
        message = "expected a directory of saved failures, such as .fgmf/failures/<gate>"
        raise WrongUse(f"{message}, got {directory}, where there are none")
    return found
