"""Carrying out a provenance gate: verify the file, say what was found."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from fgmf.errors import FgmfError
from fgmf.gates.mask_log_check import outside_head
from fgmf.verdict import Cost, Outcome, Verdict

if TYPE_CHECKING:
    from fgmf.export import ExportReport
    from fgmf.gates.provenance import ProvenanceGate
    from fgmf.gates.specification import RunContext
    from fgmf.types import Json

_SHOWN = 20


def check_provenance(gate: ProvenanceGate, context: RunContext) -> Verdict:
    """Carry out a provenance gate; see :meth:`fgmf.gates.ProvenanceGate.check`."""
    started = time.perf_counter()
    verdict = Verdict(
        gate=gate.name or gate.kind,
        kind=gate.kind,
        outcome=Outcome.ERROR,
        reason="",
        reproduce=context.reproduce,
    )
    try:
        report = _verified(gate, context)
        verdict = replace(
            verdict,
            outcome=report.outcome,
            reason=report.reason,
            evidence=evidence_of_export(gate.artefact, report),
        )
    except (FgmfError, OSError) as error:
        verdict = replace(verdict, reason=str(error))
    accepted = gate.inconclusive == "pass" and verdict.outcome is Outcome.INCONCLUSIVE
    cost = Cost(seconds=time.perf_counter() - started)
    return replace(verdict, cost=cost, accepted=accepted)


def evidence_of_export(artefact: str, report: ExportReport) -> dict[str, Json]:
    """Return what a verdict says about an exported file, beside its outcome."""
    found = report.provenance
    said: dict[str, Json] = {}
    if found is not None:
        log = found.mask_log
        said = {
            "provenance": found.digest,
            "source": found.source,
            "origin": found.origin,
            "model": found.model,
            "normalization": found.normalization,
            "storage": found.storage,
            "sparse_tensors": len(found.patterns),
            "verdicts": [dict(entry) for entry in found.verdicts],
            "mask_log": None if log is None else {"run": log.run, "head": log.head},
            "versions": dict(found.versions),
        }
    return {
        "artefact": artefact,
        "graph": report.graph,
        "anchor": report.anchor,
        "anchor_facts": dict(report.facts),
        "export_trouble_count": len(report.troubles),
        "export_troubles": list(report.troubles[:_SHOWN]),
        **said,
    }


def _verified(gate: ProvenanceGate, context: RunContext) -> ExportReport:
    from fgmf.export import Anchors, verify_export

    directory = context.directory
    log = None if gate.log is None else directory / gate.log
    head = gate.head
    if head is not None and log is not None:
        head = outside_head(head, directory, log)
    anchors = Anchors(
        log=log,
        head=head,
        public_key=gate.public_key,
        signature=None if gate.signature is None else directory / gate.signature,
    )
    return verify_export(directory / gate.artefact, anchors, gates=gate.gates)
