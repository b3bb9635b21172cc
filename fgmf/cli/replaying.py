"""`fgmf replay`: saved adversarial examples against the model as it is now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.cli.checking import show_verdict
from fgmf.cli.exits import ExitCode, WrongUse, exit_code_of
from fgmf.cli.opening import open_gate_file
from fgmf.failures.layout import RECORD

if TYPE_CHECKING:
    from pathlib import Path


def run_replay(
    directory: Path,
    gate_file: Path | None,
    *,
    device: str | None = None,
    batch_size: int | None = None,
    traceback: bool = False,
) -> ExitCode:
    """Replay the evidence of one gate, or of every gate below a directory.

    Args:
        directory: A gate's evidence, or a directory of such.
        gate_file: Names the models; None is the one of the working directory.
        device: Device of every model; None leaves it to the file.
        batch_size: Likewise.
        traceback: Also say where an error was raised.

    Returns:
        The worst of all verdicts.

    Raises:
        WrongUse: There is no evidence.
        InvalidGateFile: The gate file is missing or broken.
    """
    from fgmf.running import GateRun, RunSettings, importing_from, replay_failures

    directories = _evidence_in(directory)
    settings = RunSettings(device=device, batch_size=batch_size)
    run = GateRun(open_gate_file(gate_file), settings)
    with importing_from(run.gate_file.path.parent):
        verdicts = [replay_failures(entry, run.classifier) for entry in directories]
    for verdict in verdicts:
        show_verdict(verdict, traceback=traceback)
    return exit_code_of(verdicts)


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
