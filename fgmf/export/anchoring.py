"""What from outside an exported file stands behind it: a mask log under a head, or a signature.

    record_export(log, exported.provenance, signer=...)      a note in the log; keep the new head
    sign_export(path, provenance, signer)                    a line beside the file, path + ".sig"

The signed text is three lines: the format, the digest of the provenance, the graph's digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from fgmf.canonical import write_atomically
from fgmf.errors import InvalidInput
from fgmf.export.provenance import FORMAT
from fgmf.mask_log import LogOutcome, VerifySettings, verify_log
from fgmf.mask_log.exported import log_export, logged_exports
from fgmf.mask_log.places import EXPORTS
from fgmf.mask_log.signing import VerifierKey, is_signed

if TYPE_CHECKING:
    from pathlib import Path

    from fgmf.export.provenance import Provenance
    from fgmf.mask_log.heads import Head
    from fgmf.mask_log.signing import Signer

_LONGEST_SIGNATURE: Final = 2**16
AnchorKind = Literal["log", "signature", "none"]


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """What a file is to be held against.

    Attributes:
        log: Directory of the mask log that names the file.
        head: Of that log, from outside of it: digest or text.
        public_key: Verifier key of the log's writer, or of the signature beside the file.
        signature: File of the signature; None takes that beside the file.
    """

    log: Path | None = None
    head: str | None = None
    public_key: str | None = None
    signature: Path | None = None


@dataclass(frozen=True, kw_only=True)
class AnchorReport:
    """What was found behind a file.

    Attributes:
        kind: What stands behind it.
        failure: Why it is not the file that stands there; empty if it is.
        open_question: Why nothing can be said; empty if something can.
        facts: For the evidence: head, signer, record.
    """

    kind: AnchorKind = "none"
    failure: str = ""
    open_question: str = ""
    facts: dict[str, str]


def record_export(log: Path, provenance: Provenance, *, signer: Signer | None = None) -> Head:
    """Name an exported file in the mask log of its run.

    Args:
        log: Directory of the log, which no writer of this stream has open.
        provenance: Of the file.
        signer: Signs the new head; None leaves it unsigned.

    Returns:
        The head to keep outside the log: `fgmf verify-export --log … --against …` asks for it.
    """
    facts = {"provenance": provenance.digest, "graph": provenance.graph}
    return log_export(log, {**facts, "source": provenance.source}, signer=signer)


def signature_path(path: Path) -> Path:
    """Return where the signature of a file lies: beside it."""
    return path.with_name(f"{path.name}.sig")


def sign_export(path: Path, provenance: Provenance, signer: Signer) -> Path:
    """Write the signature of an exported file beside it; return where.

    Raises:
        OSError: The directory cannot be written.
    """
    text = _signed_text(provenance.digest, provenance.graph)
    place = signature_path(path)
    write_atomically(place, f"{text}\n{signer.line(text)}\n".encode())
    return place


def find_anchor(path: Path, digest: str, graph: str, anchors: Anchors) -> AnchorReport:
    """Hold a file against what is kept outside of it.

    Args:
        path: The file.
        digest: Of its provenance, as it is now; empty where it has none.
        graph: Digest of its graph, as it is now.
        anchors: What it is held against; nothing at all finds nothing.

    Raises:
        MaskLogUnreadable: There is no log, or a part of it cannot be read.
        InvalidInput: Head or key is none, or neither goes with the log.
        MissingDependency: A signature is asked for, and cryptography is not installed.
        OSError: A file cannot be read.
    """
    if anchors.log is not None:
        return _in_log(anchors.log, digest, graph, anchors)
    if anchors.head is not None:
        raise InvalidInput("expected the log that the head belongs to, got a head alone")
    if anchors.public_key is None:
        message = "nothing from outside the file stands behind it: whoever can write it could "
        message += "have written all of it; give a log with its head, or a public key"
        return AnchorReport(open_question=message, facts={})
    return _signed(path, digest, graph, anchors)


def _in_log(log: Path, digest: str, graph: str, anchors: Anchors) -> AnchorReport:
    report = verify_log(log, VerifySettings(head=anchors.head, public_key=anchors.public_key))
    if report.outcome is LogOutcome.TAMPERED:
        return AnchorReport(
            failure=f"the mask log is tampered with: {report.troubles[0]}", facts={}
        )
    head = report.anchored_head
    if head is None:
        message = "no head of the log from outside stands behind it; give --against HEAD, or the "
        return AnchorReport(open_question=f"{message}public key of its writer", facts={})
    facts = {"head": head.digest, "run": head.run, "log_outcome": str(report.outcome)}
    size = next((entry.size for entry in head.streams if entry.stream == EXPORTS), 0)
    named = logged_exports(log, size=size)
    for entry in named:
        if entry.facts.get("provenance") == digest and entry.facts.get("graph") == graph:
            return AnchorReport(kind="log", facts={**facts, "record": str(entry.number)})
    known = [entry for entry in named if entry.facts.get("graph") == graph]
    failure = f"the log names {len(named)} exported files under that head, and not this one"
    if known:
        failure += ": it names this graph with another provenance, so the metadata were changed"
    return AnchorReport(failure=failure, facts=facts)


def _signed(path: Path, digest: str, graph: str, anchors: Anchors) -> AnchorReport:
    key = VerifierKey.from_text(anchors.public_key or "")
    place = anchors.signature or signature_path(path)
    if not place.is_file():
        message = f"no signature at {place}, and no log was given"
        return AnchorReport(open_question=message, facts={})
    with place.open("rb") as stream:
        contents = stream.read(_LONGEST_SIGNATURE).decode(errors="replace")
    text = _signed_text(digest, graph)
    lines = [line for line in contents.splitlines() if line.startswith("\u2014 ")]
    if not is_signed(text, lines, key):
        failure = f"the signature at {place} is not one by {key.name} on this file"
        return AnchorReport(failure=failure, facts={})
    return AnchorReport(kind="signature", facts={"signer": key.name})


def _signed_text(digest: str, graph: str) -> str:
    return f"{FORMAT}\n{digest}\n{graph}\n"
