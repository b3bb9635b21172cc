"""An in-toto statement with the predicate *test result*: which gates passed on which model.

Source: in-toto Attestation Framework, Statement v1 and Test Result v0.1. The subject is the digest
of the model's state, which is no digest of a file: it has an algorithm name of its own, as the
specification allows. Files (weights, an ONNX file) can be subjects beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fgmf.errors import InvalidInput
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fgmf.supply_chain.report import EvidenceReport
    from fgmf.types import Json
    from fgmf.verdict import Verdict

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://in-toto.io/attestation/test-result/v0.1"
STATE_DIGEST: Final = "fgmfStateSha256"
"""Name of the digest over a model's parameters and buffers (`Classifier.state_digest`)."""


def statement_of_results(
    report: EvidenceReport, *, files: Mapping[str, str], url: str = ""
) -> dict[str, Json]:
    """Say in a statement how the gates ended.

    Args:
        report: The report.
        files: Other subjects: ``sha256:<hex>`` of a file by its name.
        url: Of the run; empty says nothing.

    Returns:
        The statement: PASSED only if every gate passed without a warning, WARNED if some passed
        with one or were let through, FAILED otherwise. An INCONCLUSIVE or ERROR is a failed test.

    Raises:
        InvalidInput: The report names no model with a digest, and there are no files: a statement
            about nothing.
    """
    subjects: list[Json] = [
        {"name": f"model-{at}" if at else "model", "digest": {STATE_DIGEST: _hex(digest)}}
        for at, digest in enumerate(report.models)
    ]
    subjects += [
        {"name": name, "digest": {"sha256": _hex(digest)}} for name, digest in files.items()
    ]
    if not subjects:
        message = "expected a model with a digest in the report, or files to make a statement about"
        raise InvalidInput(f"{message}, got neither")
    results: dict[str, list[Json]] = {"PASSED": [], "WARNED": [], "FAILED": []}
    for verdict in sorted(report.verdicts, key=lambda v: v.gate):
        results[_result(verdict)].append(verdict.gate)
    worst = next(word for word in ("FAILED", "WARNED", "PASSED") if results[word])
    predicate: dict[str, Json] = {
        "result": worst,
        "configuration": [*_configuration(report)],
        **({"url": url} if url else {}),
        "passedTests": results["PASSED"],
        "warnedTests": results["WARNED"],
        "failedTests": results["FAILED"],
    }
    return {
        "_type": STATEMENT_TYPE,
        "subject": subjects,
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }


def _result(verdict: Verdict) -> str:
    if not verdict.passed:
        return "FAILED"
    warned = any(f.severity != "note" for f in verdict.findings)
    return "WARNED" if warned or verdict.outcome is not Outcome.PASS else "PASSED"


def _configuration(report: EvidenceReport) -> Sequence[Json]:
    """The gate file and the report itself, by their digests."""
    entries: list[Json] = []
    digest, name = report.run.get("gate_file_digest"), report.run.get("gate_file")
    if isinstance(digest, str) and digest.startswith("sha256:"):
        entries.append({"name": str(name), "digest": {"sha256": _hex(digest)}})
    entries.append(
        {
            "name": report.name,
            "digest": {"sha256": _hex(report.digest)},
            "mediaType": "application/json",
        }
    )
    return entries


def _hex(digest: str) -> str:
    return digest.partition(":")[2]
