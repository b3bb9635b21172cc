"""Is this file the model that was gated?

Everything in it is held against its digests, and these against what is kept outside.

    provenance  read from the metadata                      # none: a stranger's file
    graph       every tensor, node, field -> digests        # against the provenance
    patterns    zeros of the stored weights                 # against their digests
    anchor      the provenance's own digest                 # in the log under a head, or signed

    FAIL          something is another, or what is kept outside names another file
    INCONCLUSIVE  it agrees with itself, and nothing from outside stands behind it; no provenance
    PASS          it agrees with itself and with what is kept outside

Cost: reads the file once, and the log if one is given.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fgmf.classifier.onnx_backend import file_digest
from fgmf.errors import InvalidInput, StaleEvidence
from fgmf.export.anchoring import Anchors, find_anchor
from fgmf.export.onnx_canonical import GraphDigests, digests_of
from fgmf.export.onnx_files import provenance_text, read_model, stored_arrays
from fgmf.export.provenance import Provenance
from fgmf.export.sidecar import read_sidecar, sidecar_troubles
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import onnx

    from fgmf.export.anchoring import AnchorReport


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What a look at an exported file found.

    Attributes:
        outcome: PASS, FAIL or INCONCLUSIVE.
        reason: In one line that stands alone.
        troubles: Everything that is another.
        provenance: What the file says of itself; None where it says nothing that can be read.
        graph: Digest of the graph as it is now; empty where the file cannot be taken apart.
        anchor: What stands behind it.
        facts: Of the anchor.
    """

    outcome: Outcome
    reason: str
    troubles: tuple[str, ...] = ()
    provenance: Provenance | None = None
    graph: str = ""
    anchor: str = "none"
    facts: dict[str, str] = field(default_factory=dict)


def verify_export(
    path: Path, anchors: Anchors | None = None, *, gates: Sequence[str] = ()
) -> ExportReport:
    """Verify an exported file.

    Args:
        path: The ``.onnx`` file; or one of another format with its provenance beside it.
        anchors: What it is held against.
        gates: Names of gates whose recorded verdicts must be PASS.

    Returns:
        What was found; a file that was changed is a result, not an error.

    Raises:
        InvalidInput: The file is no ONNX model; head or key is none.
        MaskLogUnreadable: There is no log.
        MissingDependency: onnx is not installed, or cryptography where a signature is asked for.
        OSError: The file cannot be read.
    """
    anchors = anchors or Anchors()
    if path.suffix != ".onnx":
        return _beside(path, anchors, gates)
    model = read_model(path)
    try:
        digests, text = digests_of(model), provenance_text(model)
    except InvalidInput as error:
        return ExportReport(outcome=Outcome.FAIL, reason=str(error), troubles=(str(error),))
    if text is None:
        return _of_a_stranger(path, digests.digest, anchors)
    try:
        provenance = Provenance.from_text(text)
        recorded = GraphDigests.from_document(provenance.parts)
    except StaleEvidence as error:
        return ExportReport(
            outcome=Outcome.FAIL, reason=str(error), troubles=(str(error),), graph=digests.digest
        )
    troubles = recorded.differences(digests)
    if provenance.graph != digests.digest and not troubles:
        troubles.append("the graph's digest is not that of its parts")
    troubles += _pattern_troubles(provenance, model)
    return _reported(path, provenance, troubles, digests.digest, (anchors, gates))


def _reported(
    path: Path,
    provenance: Provenance,
    troubles: list[str],
    graph: str,
    asked: tuple[Anchors, Sequence[str]],
) -> ExportReport:
    """Hold a file that was taken apart against what is outside."""
    anchors, gates = asked
    found = find_anchor(path, provenance.digest, graph, anchors)
    if found.failure:
        troubles.append(found.failure)
    troubles += _verdict_troubles(provenance, gates)
    outcome, reason = _judged(troubles, found)
    return ExportReport(
        outcome=outcome,
        reason=reason,
        troubles=tuple(troubles),
        provenance=provenance,
        graph=graph,
        anchor=found.kind,
        facts=found.facts,
    )


def _beside(path: Path, anchors: Anchors, gates: Sequence[str]) -> ExportReport:
    """Verify a file whose provenance lies beside it."""
    graph = file_digest(path)
    try:
        provenance = read_sidecar(path)
    except StaleEvidence as error:
        return ExportReport(outcome=Outcome.FAIL, reason=str(error), troubles=(str(error),))
    if provenance is None:
        return _of_a_stranger(path, graph, anchors)
    troubles = sidecar_troubles(path, provenance)
    return _reported(path, provenance, troubles, graph, (anchors, gates))


def _of_a_stranger(path: Path, graph: str, anchors: Anchors) -> ExportReport:
    found = find_anchor(path, "", graph, anchors)
    reason = (
        "no provenance in its metadata, nor beside it: it was not exported by this library, or "
        "that was removed; nothing says which model it is"
    )
    outcome = Outcome.INCONCLUSIVE
    if found.failure:
        outcome, reason = Outcome.FAIL, f"{reason}, and {found.failure}"
    else:
        reason += "; a robustness gate with suite black-box can still judge it"
    return ExportReport(
        outcome=outcome,
        reason=reason,
        troubles=(reason,),
        graph=graph,
        facts=found.facts,
    )


def _pattern_troubles(provenance: Provenance, model: onnx.ModelProto) -> list[str]:
    """Patterns of zeros that the stored weights do not have."""
    import torch

    from fgmf.sparsity import TensorPattern

    stored, troubles = stored_arrays(model), []
    for name, digest in provenance.patterns.items():
        place = provenance.names.get(name)
        if place is None:
            continue  # folded into others by the exporter: the graph's digest covers those
        array: Any = stored.get(place.removesuffix("^T"))
        if array is not None and place.endswith("^T"):
            array = array.T
        if array is None or TensorPattern.of(torch.from_numpy(array.copy())).digest != digest:
            troubles.append(f"the zeros of {name!r} are not those of its sparsity pattern")
    return troubles


def _verdict_troubles(provenance: Provenance, gates: Sequence[str]) -> list[str]:
    outcomes = {str(entry.get("gate")): str(entry.get("outcome")) for entry in provenance.verdicts}
    return [
        f"gate {gate!r} is recorded as {outcomes[gate]}"
        if gate in outcomes
        else f"gate {gate!r} is not recorded"
        for gate in gates
        if outcomes.get(gate) != str(Outcome.PASS)
    ]


def _judged(troubles: Sequence[str], found: AnchorReport) -> tuple[Outcome, str]:
    if troubles:
        more = f" (and {len(troubles) - 1} more)" if len(troubles) > 1 else ""
        return Outcome.FAIL, f"{troubles[0]}{more}"
    if found.open_question:
        return Outcome.INCONCLUSIVE, f"it agrees with itself, but {found.open_question}"
    behind = {"log": "the mask log under the head", "signature": "the signature"}[found.kind]
    return Outcome.PASS, f"graph, weights, patterns and metadata are those that {behind} names"
