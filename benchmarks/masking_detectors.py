"""Detectors of gradient masking as functions: our gate, and the peers' rules.

To measure another one, add a function from a subject to a `Finding`.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.masking_peers import PEERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from specimens.value import Subject

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {
    "gate": ("fgmf/gradient_masking", "fgmf/gates/gradient_masking*.py"),
    "peers": ("benchmarks/masking_peer*.py",),
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a detector says about a model.

    Attributes:
        verdict: "undecided" is neither a finding nor an all-clear.
        mechanisms: What it names, in its own words.
        passes: Forward and backward passes over images, all together.
        images: How many it was given.
        reason: Its sentence.
    """

    verdict: Literal["masked", "suspicious", "undecided", "clean", "error"]
    mechanisms: tuple[str, ...]
    passes: int
    images: int
    reason: str = ""


def gate(subject: Subject) -> Finding:
    """The gate `gradient-masking` with its defaults, on all images of the subject."""
    from fgmf import Classifier
    from fgmf.gates import GradientMaskingGate
    from fgmf.verdict import Outcome

    classifier = Classifier(
        copy.deepcopy(subject.model), bounds=subject.threat.bounds, device="cpu"
    )
    gate = GradientMaskingGate(
        norm=subject.threat.norm, epsilon=subject.threat.epsilon, images="all"
    )
    verdict = gate.check(classifier, subject.images, subject.labels)
    passes = verdict.cost.forward_passes + verdict.cost.backward_passes
    found: Any = verdict.evidence
    failed = verdict.outcome is Outcome.ERROR
    return Finding(
        verdict="error" if failed else found["masking"],
        mechanisms=() if failed else tuple(row["name"] for row in found["mechanisms"]),
        passes=passes,
        images=len(subject.images),
        reason=verdict.reason,
    )


def _peer(name: str) -> Callable[[Subject], Finding]:
    def detector(subject: Subject) -> Finding:
        said = PEERS[name](subject)
        signs = tuple(sign for sign, stands in said.signs.items() if stands)
        return Finding(
            verdict="masked" if said.flagged else "clean",
            mechanisms=signs,
            passes=said.passes,
            images=said.images,
            reason="; ".join(signs),
        )

    return detector


DETECTORS: dict[str, Callable[[Subject], Finding]] = {
    "gate": gate,
    **{name: _peer(name) for name in PEERS},
}


@cache
def source_digest(detector: str) -> str:
    """Changes with the source of a detector."""
    digest = hashlib.sha256()
    for pattern in SOURCES["gate" if detector == "gate" else "peers"]:
        found = (ROOT / pattern).rglob("*.py") if "*" not in pattern else ROOT.glob(pattern)
        for path in sorted(found):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]
