"""What a mask-log verdict is about: head, streams, and everything that is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.reporting.evidence import integer_of, records_of, text_of, texts_of
from fgmf.reporting.text import shown_count

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fgmf.types import Json
    from fgmf.verdict import Verdict


def render_mask_log(verdict: Verdict) -> Iterable[str]:
    """Write what was found in a log.

    Args:
        verdict: Of any gate kind.

    Yields:
        Printable lines; none where the evidence is not about a log.
    """
    evidence = verdict.evidence
    if not text_of(evidence, "log_outcome"):
        return
    records = shown_count(integer_of(evidence, "records") or 0, "record")
    run = text_of(evidence, "run")
    yield f"log: {text_of(evidence, 'log')}, run {run}, {records}"
    head = text_of(evidence, "head")
    if head:
        yield f"head: {head} (anchor: {text_of(evidence, 'anchor')})"
    for stream in records_of(evidence, "streams"):
        yield f"  stream {text_of(stream, 'stream')}: {_counts(stream)}"
    join = evidence.get("join")
    if isinstance(join, dict):
        yield from _joined(join)
    lines = texts_of(evidence, "trouble_lines")
    if lines:
        yield "what is wrong:"
    yield from (f"  {line}" for line in lines)
    hidden = (integer_of(evidence, "trouble_count") or 0) - len(lines)
    if hidden > 0:
        yield f"  and {hidden} more"


def _joined(join: Mapping[str, Json]) -> Iterable[str]:
    agents = ", ".join(texts_of(join, "agents"))
    count = shown_count(integer_of(join, "decisions") or 0, "decision")
    differences = texts_of(join, "differences")
    yield f"joined: {count} of {agents}" + (", with differences:" if differences else "")
    yield from (f"  {line}" for line in differences)


def _counts(stream: Mapping[str, Json]) -> str:
    parts = [
        shown_count(integer_of(stream, name) or 0, word)
        for name, word in (("records", "record"), ("samples", "sample"))
    ]
    for name, words in (("skipped", "left out"), ("lost", "lost"), ("erased", "erased")):
        count = integer_of(stream, name)
        if count:
            parts.append(f"{count} {words}")
    return ", ".join(parts) + ("" if stream.get("ended") is True else ", no end")
