"""The evidence of a gradient-masking verdict: who was fooled, how, what undid it, what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.reporting.evidence import integer_of, number_of, records_of, text_of, texts_of
from fgmf.reporting.text import shown_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fgmf.types import Json
    from fgmf.verdict import Verdict


def render_masking(verdict: Verdict) -> Iterable[str]:
    """Write who was fooled, the mechanisms with their remedies, symptoms, and counter-attacks.

    Args:
        verdict: Of any gate kind.

    Yields:
        Printable lines; none where the evidence is not of a gradient-masking gate.
    """
    if not text_of(verdict.evidence, "masking"):
        return
    yield from _gaps(verdict)
    yield from _mechanisms(verdict)
    yield from _symptoms(verdict)
    yield from _counterattacks(verdict)


def _gaps(verdict: Verdict) -> Iterable[str]:
    rows = records_of(verdict.evidence, "gaps")
    if not rows:
        return
    yield "naive attacks (robust accuracy they report, and what is left of it):"
    width = max(len(text_of(row, "naive")) for row in rows)
    for row in rows:
        fooled = "fooled" if row.get("fooled") is True else "not fooled"
        told, left = _number(row, "naive_accuracy"), _number(row, "adaptive_accuracy")
        yield f"  {text_of(row, 'naive'):<{width}}  {told} -> {left}  {fooled}"


def _mechanisms(verdict: Verdict) -> Iterable[str]:
    rows = records_of(verdict.evidence, "mechanisms")
    if not rows:
        return
    layer = text_of(verdict.evidence, "layer")
    yield f"mechanisms{f' (at {layer})' if layer else ''}:"
    for row in rows:
        yield f"  {text_of(row, 'name')}: {text_of(row, 'meaning')}"
        yield f"    remedy: {text_of(row, 'remedy')}"


def _symptoms(verdict: Verdict) -> Iterable[str]:
    rows = records_of(verdict.evidence, "symptoms")
    standing = [row for row in rows if row.get("stands") is True]
    if not standing:
        yield f"symptoms: none of the {len(rows)} looked for"
        return
    yield f"symptoms ({len(standing)} of {len(rows)} looked for):"
    width = max(len(text_of(row, "name")) for row in standing)
    for row in standing:
        mark = "!" if row.get("alarming") is True else " "
        value = _number(row, "value")
        yield f"  {mark} {text_of(row, 'name'):<{width}}  {value:>7}  {text_of(row, 'note')}"


def _counterattacks(verdict: Verdict) -> Iterable[str]:
    rows = records_of(verdict.evidence, "counterattacks")
    if not rows:
        return
    yield "counter-attacks:"
    width = max(len(text_of(row, "name")) for row in rows)
    for row in rows:
        images = "scouts" if row.get("scouting") is True else "images"
        broke = f"broke {integer_of(row, 'broken')} of {integer_of(row, 'images')} {images} left"
        failure = text_of(row, "failure")
        undoes = ", ".join(texts_of(row, "mechanisms"))
        end = f"; failed: {failure}" if failure else f"  ({undoes})" if undoes else ""
        yield f"  {text_of(row, 'name'):<{width}}  {broke}{end}"


def _number(record: Mapping[str, Json], key: str) -> str:
    value = number_of(record, key)
    return "-" if value is None else shown_number(value)
