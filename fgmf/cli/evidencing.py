"""`fgmf evidence`: a JSON report in the forms that supply chains read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fgmf.canonical import write_atomically
from fgmf.cli.exits import ExitCode, WrongUse, say
from fgmf.errors import InvalidInput
from fgmf.supply_chain import (
    bill_of_materials,
    read_report,
    render_model_card,
    sign_statement,
    statement_of_results,
    verify_envelope,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fgmf.types import Json

EvidenceForm = Literal["in-toto", "cyclonedx", "model-card"]


@dataclass(frozen=True, kw_only=True)
class EvidenceRequest:
    """The options of the command.

    Attributes:
        report: JSON report.
        form: What is made of it.
        output: File to write.
        key: Secret key; signs the statement.
        subjects: Files that the statement is about, beside the models of the report.
        url: Of the run.
        model: Name of the model.
        dataset: Name of the data set.
    """

    report: Path
    form: EvidenceForm
    output: Path
    key: Path | None = None
    subjects: tuple[Path, ...] = ()
    url: str = ""
    model: str = "model"
    dataset: str = "held-out images"


def run_evidence(request: EvidenceRequest) -> ExitCode:
    """Make the file.

    Returns:
        PASSED: it was written; what it says may be that gates failed.

    Raises:
        WrongUse: Options that this form has no use for.
        InvalidInput: The report or the key is none, or there is nothing to make a statement about.
        OSError: A file cannot be read or written.
    """
    if request.form != "in-toto" and (request.key or request.subjects or request.url):
        raise WrongUse(f"--key, --subject and --url are for in-toto, got {request.form}")
    report = read_report(request.report)
    if request.form == "cyclonedx":
        text = _encoded(bill_of_materials(report, model=request.model))
    elif request.form == "model-card":
        text = render_model_card(report, model=request.model, dataset=request.dataset)
    else:
        files = {path.name: _digest(path) for path in request.subjects}
        if len(files) < len(request.subjects):
            raise WrongUse("expected files of different names for --subject")
        statement = statement_of_results(report, files=files, url=request.url)
        text = _encoded(statement if request.key is None else _signed(statement, request.key))
    write_atomically(request.output, text.encode("utf-8", errors="backslashreplace"))
    say(f"wrote {request.output}")
    if request.form == "in-toto" and request.key is None:
        say("not signed: --key signs it, with a key of `fgmf log keygen`")
    return ExitCode.PASSED


def run_check_evidence(envelope: Path, *, public_key: str) -> ExitCode:
    """Check the signature of an envelope, and say what its statement says.

    Args:
        envelope: A DSSE envelope.
        public_key: Text of the verifier key.

    Returns:
        PASSED where the statement says so, FAILED where gates failed.

    Raises:
        InvalidInput: It is not signed by that key, or holds no test result.
        OSError: It cannot be read.
    """
    from fgmf.mask_log.signing import VerifierKey

    try:
        document = json.loads(envelope.read_bytes())
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise InvalidInput(
            f"expected a DSSE envelope, got {envelope.name}, which is no JSON object"
        )
    statement = verify_envelope(document, VerifierKey.from_text(public_key))
    predicate = statement.get("predicate")
    result = predicate.get("result") if isinstance(predicate, dict) else None
    if result not in {"PASSED", "WARNED", "FAILED"}:
        raise InvalidInput(f"expected a test result in {envelope.name}, got {result!r:.40}")
    say(f"signed; {result}")
    return ExitCode.FAILED if result == "FAILED" else ExitCode.PASSED


def _signed(statement: Mapping[str, Json], key: Path) -> dict[str, Json]:
    from fgmf.mask_log.signing import Signer

    return sign_statement(statement, Signer.from_file(key))


def _encoded(document: Mapping[str, Json]) -> str:
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
