"""Where an exported file comes from: a document in its metadata, and how it is held against them.

The document holds the digests of the graph that carries it, of the model that was exported, of its
sparsity patterns, the verdicts of its gates, and the head of its mask log. It is no proof: whoever
can write the file can write the document. What proves is its own digest outside the file: in the
mask log under a head that is kept elsewhere, or under a signature (`anchoring`). No torch here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fgmf.canonical import canonical_json, json_digest
from fgmf.errors import InvalidInput, StaleEvidence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fgmf.types import Json
    from fgmf.verdict import Verdict

FORMAT: Final = "fgmf-export/1"
LONGEST: Final = 64 * 2**20
"""Characters of the longest provenance that is read."""


@dataclass(frozen=True, kw_only=True)
class MaskLogReference:
    """The mask log of the run that made the model.

    Attributes:
        run: Its name.
        head: Digest of its head when the model was exported.
    """

    run: str
    head: str


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a file says about itself.

    Attributes:
        graph: Digest of everything that the file says (`GraphDigests.digest`).
        parts: Of what the graph's digest is made, to name what was changed.
        source: Digest of the model that was exported, as verdicts name it (`model_digest`).
        model: Name of its class.
        bounds: Range of the images that it takes.
        normalization: ``none``; ``baked``: the file takes images in bounds; ``outside``: it takes
            normalised images.
        normalize: Mean and deviation per channel, where there is a normalisation.
        names: By parameter of the source, where it stands in the file, ``NAME`` or ``NAME^T``
            with its axes swapped; None where the exporter folded it into others.
        patterns: By parameter with zeros, digest of the pattern of its zeros.
        removal: Digest of the plan by which units were taken out; empty for none.
        origin: Digest of the model that these dead units were taken out of: the one that was
            gated, whose outputs the source has within 1e-5; empty where it is the source itself.
        verdicts: Of gates on the source or its origin: model, gate, kind, outcome, measured, seed.
        mask_log: Of the run; None for none.
        storage: ``dense`` or ``sparse``.
        quantization: Empty, or ``int8``: another model than the source, gated on its own.
        versions: Of the packages that made the file.
    """

    graph: str
    parts: Mapping[str, Any]
    source: str
    model: str
    bounds: tuple[float, float]
    normalization: str = "none"
    normalize: Mapping[str, Any] | None = None
    names: Mapping[str, str | None] = field(default_factory=dict)
    patterns: Mapping[str, str] = field(default_factory=dict)
    removal: str = ""
    origin: str = ""
    verdicts: tuple[Mapping[str, Any], ...] = ()
    mask_log: MaskLogReference | None = None
    storage: str = "dense"
    quantization: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    def as_document(self) -> dict[str, Any]:
        """Return it as JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values |= {name: dict(values[name]) for name in ("parts", "names", "patterns", "versions")}
        values["bounds"] = list(self.bounds)
        values["verdicts"] = [dict(verdict) for verdict in self.verdicts]
        log = self.mask_log
        values["mask_log"] = None if log is None else {"run": log.run, "head": log.head}
        return {"format": FORMAT, **values}

    def text(self) -> str:
        """Return it as canonical JSON, as it stands in the file."""
        return canonical_json(self.as_document()).decode()

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` of the text: what is logged and signed."""
        return json_digest(self.as_document())

    @property
    def models(self) -> tuple[str, ...]:
        """Digests of the models that the file is an export of: its source, and its origin."""
        return (self.source, self.origin) if self.origin else (self.source,)

    @classmethod
    def from_text(cls, text: str) -> Provenance:
        """Read it.

        Raises:
            StaleEvidence: It is none, of another format, or not canonical.
        """
        try:
            if len(text) > LONGEST:
                raise ValueError(f"{len(text)} characters")
            document = json.loads(text)
            if document.pop("format") != FORMAT:
                raise ValueError("another format")
            log = document.pop("mask_log")
            document["mask_log"] = None if log is None else MaskLogReference(**log)
            document["bounds"] = tuple(document["bounds"])
            document["verdicts"] = tuple(document["verdicts"])
            found = cls(**document)
            if found.text() != text:
                raise ValueError("not canonical JSON")
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            InvalidInput,
            RecursionError,
        ) as error:
            message = f"expected a provenance of format {FORMAT} in the file's metadata"
            raise StaleEvidence(f"{message}, got: {error!s:.120}") from error
        return found


def recorded_verdicts(
    verdicts: Sequence[Verdict], *, source: str, origin: str = ""
) -> tuple[Mapping[str, Json], ...]:
    """Return what a provenance says of verdicts.

    Args:
        verdicts: Of gates on the model that is exported.
        source: Digest of that model.
        origin: Digest of the model that its dead units were taken out of; empty for none.

    Raises:
        InvalidInput: A verdict is about another model, or says of none.
    """
    found: list[Mapping[str, Json]] = []
    for verdict in verdicts:
        about = verdict.evidence.get("model_digest")
        if about not in {source, origin or source}:
            message = f"expected verdicts on the exported model {source:.23}…"
            got = f"{verdict.gate!r} is about {about!s:.23}…"
            raise InvalidInput(f"{message}, got one that is not: {got}; gate the model again")
        found.append(
            {
                "model": str(about),
                "gate": verdict.gate,
                "kind": verdict.kind,
                "outcome": str(verdict.outcome),
                "measured": verdict.measured,
                "threshold": verdict.threshold,
                "seed": verdict.seed,
                "image_count": verdict.image_count,
            }
        )
    return tuple(found)
