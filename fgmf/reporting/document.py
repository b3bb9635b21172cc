"""The machine-readable report of a run: plain JSON, the same for the same seed but for `cost`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING

from fgmf.errors import InvalidInput
from fgmf.reporting.schema import REPORT_SCHEMA

if TYPE_CHECKING:
    from fgmf.types import Json
    from fgmf.verdict import Verdict


def report_document(verdicts: Sequence[Verdict], *, run: Mapping[str, Json]) -> dict[str, Json]:
    """Collect the verdicts of a run in one document.

    Args:
        verdicts: In any order, as when several workers hand them in.
        run: Facts about the run, such as `seed`, `profile` and `gate_file`: nothing that
            differs between two runs of the same thing.

    Returns:
        What :func:`~fgmf.reporting.report_schema` describes: verdicts sorted by gate. Numbers
        that JSON does not have (NaN, infinities) are null.

    Raises:
        InvalidInput: The evidence of a gate holds something that is not JSON.
    """
    entries = [_entry(verdict) for verdict in verdicts]
    return {
        "schema": REPORT_SCHEMA,
        "run": _plain(run, "run"),
        "verdicts": [*sorted(entries, key=_sort_key)],
    }


def encode_report(document: Mapping[str, Json]) -> bytes:
    """Encode a report for a file: indented UTF-8 JSON with a newline at its end."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode("utf-8", errors="backslashreplace")


def _entry(verdict: Verdict) -> dict[str, Json]:
    document = verdict.as_document()
    return {key: _plain(value, f"{verdict.gate}: {key}") for key, value in document.items()}


def _sort_key(entry: Mapping[str, Json]) -> tuple[str, str]:
    """By gate; names that occur twice by everything else, so that order never depends on time."""
    rest = {key: value for key, value in entry.items() if key != "cost"}
    return str(entry["gate"]), json.dumps(rest, sort_keys=True)


def _plain(value: object, place: str) -> Json:
    """Turn numbers, mappings and sequences of any library into their JSON types."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Real):
        return _number(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(entry, f"{place}.{key}") for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry, f"{place}[{index}]") for index, entry in enumerate(value)]
    message = (
        f"expected JSON (text, numbers, lists, objects) at {place}, got {type(value).__name__}; "
        "convert it in the gate's check"
    )
    raise InvalidInput(message)


def _number(value: Real) -> int | float | None:
    if isinstance(value, Integral):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None
