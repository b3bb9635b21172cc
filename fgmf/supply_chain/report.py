"""A JSON report, read back: every verdict whole, or an error."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fgmf.errors import InvalidInput
from fgmf.reporting.evidence import text_of
from fgmf.reporting.schema import REPORT_SCHEMA
from fgmf.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LARGEST: Final = 256 * 2**20


@dataclass(frozen=True, kw_only=True)
class EvidenceReport:
    """What a report says.

    Attributes:
        name: Of the file.
        digest: ``sha256:<hex>`` of its bytes.
        run: Facts about the run.
        verdicts: At least one.
    """

    name: str
    digest: str
    run: Mapping[str, Any]
    verdicts: tuple[Verdict, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """Digests of the models that the verdicts are about, each once; ``sha256:<hex>``.

        A gate on something that has no digest (a plain callable, a log) adds none.
        """
        found = (text_of(verdict.evidence, "model_digest") for verdict in self.verdicts)
        return tuple(dict.fromkeys(digest for digest in found if digest.startswith("sha256:")))


def read_report(path: Path) -> EvidenceReport:
    """Read a JSON report.

    Args:
        path: Written by ``--fgmf-report json:PATH`` or ``fgmf check --report json:PATH``.

    Raises:
        InvalidInput: It is none, it is damaged, or it holds no verdict.
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        contents = stream.read(_LARGEST + 1)
    expected = f"expected a report of the form {REPORT_SCHEMA}, as json:PATH writes it"
    if len(contents) > _LARGEST:
        raise InvalidInput(f"{expected}, got {path.name} of more than {_LARGEST} bytes")
    try:
        document = json.loads(contents)
        if document["schema"] != REPORT_SCHEMA or not isinstance(document["run"], dict):
            raise ValueError("another schema")
        verdicts = tuple(_checked(Verdict.from_document(e)) for e in document["verdicts"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"{type(error).__name__}: {error}"
        raise InvalidInput(f"{expected}, got {path.name}: {why:.200}") from None
    if not verdicts:
        raise InvalidInput(f"expected a report with verdicts, got none in {path.name}")
    digest = f"sha256:{hashlib.sha256(contents).hexdigest()}"
    return EvidenceReport(name=path.name, digest=digest, run=document["run"], verdicts=verdicts)


def _checked(verdict: Verdict) -> Verdict:
    """Refuse a PASS that its own conditions contradict: a report that was tinkered with."""
    missed = [c.quantity for c in verdict.conditions if c.outcome is not Outcome.PASS]
    if verdict.outcome is Outcome.PASS and missed:
        raise ValueError(f"{verdict.gate} is a pass, and {', '.join(missed)} is none")
    if not isinstance(verdict.gate, str) or not isinstance(verdict.evidence, dict):
        raise TypeError("a gate without a name or evidence")
    return verdict
