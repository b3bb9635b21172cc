"""What verdicts on exported files are about: digests, anchors, gaps, and what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.reporting.evidence import (
    integer_of,
    integers_of,
    number_of,
    records_of,
    text_of,
    texts_of,
)
from fgmf.reporting.text import printable, shown_indices, shown_number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fgmf.verdict import Verdict

_IMAGE_LISTS = (
    ("disagreeing_images", "another class than its source on clean images"),
    ("disagreeing_attacked_images", "another class than its source under attack"),
    ("broken_only_in_the_file", "broken in the file, not by the attack on its source"),
)


def render_export(verdict: Verdict) -> Iterable[str]:
    """Write what was found about an exported file.

    Args:
        verdict: Of any gate kind.

    Yields:
        Printable lines; none where the evidence is not about a file.
    """
    evidence = verdict.evidence
    artefact = text_of(evidence, "artefact")
    if not artefact:
        return
    provenance = text_of(evidence, "provenance") or "none"
    yield f"file: {printable(artefact)}, provenance {printable(provenance)}"
    anchor = text_of(evidence, "anchor")
    if anchor:
        yield f"graph: {text_of(evidence, 'graph')} (anchor: {anchor})"
    source, origin = text_of(evidence, "source"), text_of(evidence, "origin")
    if source:
        yield f"model: {source}" + (f", without dead units of {origin}" if origin else "")
    for entry in records_of(evidence, "verdicts"):
        gate, outcome = text_of(entry, "gate"), text_of(entry, "outcome")
        yield f"  recorded: gate {printable(gate)}, {printable(outcome)}"
    lines = texts_of(evidence, "export_troubles")
    if lines:
        yield "what is wrong:"
    yield from (f"  {printable(line)}" for line in lines)
    hidden = (integer_of(evidence, "export_trouble_count") or 0) - len(lines)
    if hidden > 0:
        yield f"  and {hidden} more"
    yield from _parity(verdict)


def _parity(verdict: Verdict) -> Iterable[str]:
    evidence = verdict.evidence
    clean, attacked = number_of(evidence, "clean_gap"), number_of(evidence, "attacked_gap")
    if clean is None or attacked is None:
        return
    near = integer_of(evidence, "near_margin") or 0
    yield f"largest logit gap: {clean:.3g} on clean images, {attacked:.3g} under attack"
    yield f"images whose margin is within twice that: {near}"
    source = number_of(evidence, "source_robust_accuracy")
    if source is not None:
        yield f"robust accuracy of the source under the attack on it: {shown_number(source)}"
    for key, words in _IMAGE_LISTS:
        indices = integers_of(evidence, key)
        if indices:
            yield f"{words}: {len(indices)}, at {shown_indices(indices)}"
