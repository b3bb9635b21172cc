"""`fgmf log prove` and `fgmf log check-proof`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fgmf.canonical import write_atomically
from fgmf.cli.exits import ExitCode, WrongUse, say
from fgmf.cli.mask_logs import sample_id
from fgmf.mask_log.places import read_outside
from fgmf.mask_log.proof_check import WrongProof, check_text
from fgmf.mask_log.proofs import prove_consistency, prove_inclusion

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST_PROOF: Final = 64 * 2**20


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
    heads = [request.head]
    if request.since is not None:
        heads = [request.since, request.head]
        proof = prove_consistency(request.log, old=request.since, new=request.head)
    else:
        proof = prove_inclusion(
            request.log,
            head=request.head,
            sample=sample_id(request.sample or ""),
            stream=request.stream,
        )
    text = json.dumps(proof, indent=1) + "\n"
    shown = check_text(text, heads, request.sample)  # as whoever gets it will
    write_atomically(request.output, text.encode())
    say(f"proof: {request.output}")
    say(shown)
    return ExitCode.PASSED


def run_check_proof(path: Path, heads: list[str], *, sample: str | None) -> ExitCode:
    """Check a proof and say what it shows; FAILED where it shows nothing, or another sample.

    Raises:
        MaskLogUnreadable: It is no file, or far too long.
    """
    try:
        say(check_text(read_outside(path, limit=_LONGEST_PROOF).decode(), heads, sample))
    except (WrongProof, UnicodeDecodeError) as error:
        say(f"NOT shown: {error}")
        return ExitCode.FAILED
    return ExitCode.PASSED
