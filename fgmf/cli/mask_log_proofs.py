"""`fgmf log prove` and `fgmf log check-proof`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fgmf.canonical import write_atomically
from fgmf.cli.exits import ExitCode, WrongUse, say
from fgmf.cli.mask_logs import sample_id
from fgmf.mask_log.proof_check import WrongProof, check_text
from fgmf.mask_log.proofs import prove_consistency, prove_inclusion

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ProofRequest:
    """The command line of `fgmf log prove`."""

    log: Path
    head: str
    sample: str | None
    since: str | None
    stream: str | None
    output: Path


def run_prove(request: ProofRequest) -> ExitCode:
    """Write a proof.

    Raises:
        WrongUse: Neither a sample nor an earlier head, or both.
        InvalidInput: The log has no such head or sample.
    """
    if (request.sample is None) == (request.since is None):
        raise WrongUse("expected either --sample or --since")
    if request.since is not None:
        proof = prove_consistency(request.log, old=request.since, new=request.head)
    else:
        proof = prove_inclusion(
            request.log,
            head=request.head,
            sample=sample_id(request.sample or ""),
            stream=request.stream,
        )
    write_atomically(request.output, json.dumps(proof, indent=1).encode() + b"\n")
    say(f"proof: {request.output}")
    return ExitCode.PASSED


def run_check_proof(path: Path, heads: list[str]) -> ExitCode:
    """Check a proof and say what it shows; FAILED where it shows nothing."""
    try:
        say(check_text(path.read_text("utf-8"), heads))
    except (WrongProof, UnicodeDecodeError) as error:
        say(f"NOT shown: {error}")
        return ExitCode.FAILED
    return ExitCode.PASSED
