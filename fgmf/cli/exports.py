"""`fgmf verify-export …`: is this file the model that was gated?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fgmf.cli.checking import show_verdict
from fgmf.cli.exits import ExitCode, WrongUse, exit_code_of, say
from fgmf.errors import InvalidGateFile
from fgmf.gates.provenance import ProvenanceGate
from fgmf.gates.specification import RunContext
from fgmf.reporting import render_details
from fgmf.verdict import Outcome


@dataclass(frozen=True, kw_only=True)
class VerifyExportRequest:
    """The command line of `fgmf verify-export`."""

    artefact: Path
    log: Path | None = None
    against: str | None = None
    public_key: str | None = None
    signature: Path | None = None
    gates: tuple[str, ...] = ()


def run_verify_export(request: VerifyExportRequest) -> ExitCode:
    """Verify an exported file and say what came out: the same as a gate of kind `provenance`.

    Raises:
        WrongUse: An option is not what it should be.
    """
    try:
        gate = ProvenanceGate(
            name="export",
            artefact=str(request.artefact.absolute()),
            log=None if request.log is None else str(request.log.absolute()),
            head=request.against,
            public_key=request.public_key,
            signature=None if request.signature is None else str(request.signature.absolute()),
            gates=request.gates,
        )
    except InvalidGateFile as error:
        raise WrongUse("; ".join(map(str, error.problems))) from None
    verdict = gate.check(context=RunContext(directory=Path.cwd()))
    show_verdict(verdict)
    if verdict.outcome is Outcome.PASS:
        for line in render_details(verdict).splitlines():
            say(f"    {line}")
    return exit_code_of([verdict])
