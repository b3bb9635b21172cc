"""The tables of a verdict on explanations: metrics beside references, similarities of maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.reporting.evidence import integer_of, number_of, records_of, text_of
from fgmf.reporting.table import aligned
from fgmf.reporting.text import shown_count, shown_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fgmf.types import Json
    from fgmf.verdict import Verdict


def render_explanations(verdict: Verdict) -> Iterable[str]:
    """Write each metric's score beside those of references, and how similar maps stayed.

    Args:
        verdict: Of any gate kind.

    Yields:
        Printable lines; none where the evidence holds no explanations.
    """
    yield from _comparisons(verdict.evidence)
    yield from _stability(verdict.evidence)


def _comparisons(evidence: Mapping[str, Json]) -> Iterable[str]:
    rows = records_of(evidence, "comparisons")
    if not rows:
        return
    names = list(dict.fromkeys(n for row in rows for n in _scores_of(row)))
    table = [("", "explainer", *names)]
    for row in rows:
        scores = _scores_of(row)
        cells = (scores.get(name, "-") for name in names)
        table.append((_label(row), _shown(row, "score"), *cells))
    yield "mean scores (margin over the reference; images on which it is beaten):"
    for line in aligned(table, right=range(1, len(names) + 2)).splitlines():
        yield f"  {line}"
    replaced = evidence.get("replaced_reference_maps")
    if isinstance(replaced, dict):
        for name in sorted(replaced):
            count = integer_of(replaced, name)
            if count:
                maps = shown_count(count, "map")
                yield f"  {maps} of {name} ranked no pixel and became random"


def _label(row: Mapping[str, Json]) -> str:
    title = text_of(row, "title") or text_of(row, "metric")
    replacement = text_of(row, "replacement")
    better = "more" if row.get("higher_is_better") is True else "less"
    inside = f"{replacement}; {better} is better" if replacement else f"{better} is better"
    return f"{title} ({inside})"


def _scores_of(row: Mapping[str, Json]) -> dict[str, str]:
    cells = {}
    for reference in records_of(row, "references"):
        beaten = integer_of(reference, "beaten_on")
        count = "" if beaten is None else f"; {beaten}"
        cells[text_of(reference, "name")] = (
            f"{_shown(reference, 'score')} ({_shown(reference, 'margin')}{count})"
        )
    return cells


def _stability(evidence: Mapping[str, Json]) -> Iterable[str]:
    rows = records_of(evidence, "stability")
    if not rows:
        return
    yield f"similarity of maps ({text_of(evidence, 'similarity')}):"
    for row in rows:
        mean, lowest = _shown(row, "similarity"), _shown(row, "lowest")
        yield f"  {text_of(row, 'name')} {_size(row)}: mean {mean}, lowest image {lowest}"
    changed = number_of(evidence, "changed_by_noise")
    if changed:
        yield f"  {changed:.1%} of noisy copies were predicted as another class"
    pulled = number_of(evidence, "pulled_back")
    if pulled:
        yield f"  {pulled:.1%} of candidates changed the prediction and were pulled back"


def _size(row: Mapping[str, Json]) -> str:
    size = number_of(row, "size")
    return "" if size is None else f"{size:.3g}"


def _shown(record: Mapping[str, Json], key: str) -> str:
    value = number_of(record, key)
    return "-" if value is None else shown_number(value)
