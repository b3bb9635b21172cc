"""Evidence of self-tests, of exported files and of their provenance: marks on a line, and facts.

attack self-test   what the attacks find of what exists, beside random search; scaled logits
export parity      robust accuracy of the file beside that of its source
provenance         digests, anchor, recorded verdicts: words alone
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fgmf.reporting.evidence import groups_of, number_of, records_of, text_of
from fgmf.reporting.panels import Mark, Panel, PanelRow
from fgmf.reporting.text import printable, shown_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fgmf.reporting.panels import MarkStyle
    from fgmf.types import Json
    from fgmf.verdict import Verdict

_MOST_ROWS: Final = 20
_DIGESTS: Final = (
    ("artefact", "file"),
    ("graph", "graph"),
    ("provenance", "provenance"),
    ("anchor", "anchor"),
    ("model", "model"),
    ("source", "source"),
    ("storage", "storage"),
)


def further_panels(verdict: Verdict) -> list[Panel]:
    """Return the panels of the kinds named above; none for others."""
    found = (_selftest(verdict.evidence), _scaling(verdict.evidence), _parity(verdict.evidence))
    return [panel for panel in found if panel is not None]


def export_facts(verdict: Verdict) -> list[tuple[str, str]]:
    """Return what a verdict says of an exported file, name and value; nothing for others."""
    evidence = verdict.evidence
    if not text_of(evidence, "artefact"):
        return []
    facts = [(words, text_of(evidence, key)) for key, words in _DIGESTS if text_of(evidence, key)]
    log = evidence.get("mask_log")
    if isinstance(log, dict):
        facts.append(("mask log", f"run {text_of(log, 'run')}, head {text_of(log, 'head')}"))
    recorded = records_of(evidence, "verdicts")[:_MOST_ROWS]
    facts += [("recorded gate", f"{text_of(r, 'gate')}: {text_of(r, 'outcome')}") for r in recorded]
    return facts


def _selftest(evidence: Mapping[str, Json]) -> Panel | None:
    asked: tuple[tuple[str, str, MarkStyle], ...] = (
        ("test_success", "the attacks", "main"),
        ("random_search_success", "random search with as many passes", "other"),
    )
    rows = [
        PanelRow(name=words, marks=_share(value, style, words), words=_shown(value))
        for key, words, style in asked
        if (value := number_of(evidence, key)) is not None
    ]
    return _panel(
        "Do the attacks find what exists?",
        rows,
        "share of images whose planted adversarial example was found; thick: by the attacks",
    )


def _scaling(evidence: Mapping[str, Json]) -> Panel | None:
    rows = []
    for factor, numbers in list(groups_of(evidence, "scaling").items())[:_MOST_ROWS]:
        value = number_of(numbers, "robust_accuracy")
        name = f"logits times {printable(factor)}"
        rows.append(PanelRow(name=name, marks=_share(value, "main", name), words=_shown(value)))
    hint = "robust accuracy; the same decisions at every scale, so a rise is the attack's failure"
    return _panel("Scaled logits", rows, hint)


def _parity(evidence: Mapping[str, Json]) -> Panel | None:
    source = number_of(evidence, "source_robust_accuracy")
    if source is None:
        return None
    asked: tuple[tuple[str, float | None, MarkStyle], ...] = (
        ("file, without an attack", number_of(evidence, "clean_accuracy"), "other"),
        ("source, attacked with its gradients", source, "other"),
        ("file, attacked both ways", number_of(evidence, "robust_accuracy"), "main"),
    )
    rows = [
        PanelRow(name=name, marks=_share(value, style, name), words=_shown(value))
        for name, value, style in asked
    ]
    return _panel("File and source", rows, "thick: what the gate judges; thin: beside it")


def _share(value: float | None, style: MarkStyle, label: str) -> tuple[Mark, ...]:
    if value is None or not 0 <= value <= 1:
        return ()
    return (Mark(place=100 * value, style=style, label=f"{label}: {value:.3f}"),)


def _panel(title: str, rows: Sequence[PanelRow], hint: str) -> Panel | None:
    return Panel(title=title, rows=tuple(rows), ends=("0", "1"), hint=hint) if rows else None


def _shown(value: float | None) -> str:
    return "-" if value is None else shown_number(value)
