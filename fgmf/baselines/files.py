"""Baseline files: canonical JSON with a seal, one per gate, read with suspicion.

<directory>/<name>.json     name from `fgmf.failures.layout.directory_name`: no gate name, slashes
                            and dots included, leads out of the directory
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from fgmf.baselines.contents import MeasuredGate
from fgmf.canonical import canonical_json, json_digest
from fgmf.errors import FgmfError, InvalidBaseline
from fgmf.failures.layout import directory_name
from fgmf.gates.problems import problems_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BASELINE_SCHEMA: Final = "fgmf-baseline/1"
"""Version of the file; a breaking change takes the next number."""
SUFFIX: Final = ".json"
_SEALS: Final = ("schema", "data_digest", "configuration_digest", "digest")
_LARGEST_FILE: Final = 100_000_000


def baseline_path(directory: Path, gate: str) -> Path:
    """Return the file of a gate's baseline: always directly in `directory`."""
    return directory / f"{directory_name(gate)}{SUFFIX}"


def encode_baseline(measured: MeasuredGate) -> bytes:
    """Return the contents of a baseline file: one line, the same for the same measurement."""
    document: dict[str, Any] = {
        **measured.model_dump(mode="json"),
        "schema": BASELINE_SCHEMA,
        "data_digest": measured.data_digest,
        "configuration_digest": measured.configuration_digest,
    }
    document["digest"] = json_digest(document)
    return canonical_json(document) + b"\n"


def load_baseline(path: Path, *, renamed: bool = False) -> MeasuredGate:
    """Read a baseline file.

    Args:
        path: The file; never followed where it is a link.
        renamed: The file may be a copy of another name; in a directory of baselines the name
            is that of the gate.

    Raises:
        InvalidBaseline: With every problem: not JSON, another format, a changed or missing
            field, digests that do not fit, the name of another gate.
        OSError: It cannot be read.
    """
    document = read_json(path)
    if not isinstance(document, dict):
        raise InvalidBaseline(str(path), [f"expected an object, got {type(document).__name__}"])
    schema = document.get("schema")
    if schema != BASELINE_SCHEMA:
        # Nothing can be said of fields that another format may name otherwise.
        problem = f"schema: expected {BASELINE_SCHEMA!r}, got {_shown(schema)}"
        raise InvalidBaseline(str(path), [f"{problem}; update the baseline"])
    problems = _seal_problems(document)
    values = {key: value for key, value in document.items() if key not in _SEALS}
    try:
        measured = MeasuredGate.model_validate(values)
    except ValidationError as error:
        problems += map(str, problems_of(error, model=MeasuredGate))
        raise InvalidBaseline(str(path), problems) from None
    problems += _content_problems(measured, document)
    expected = baseline_path(path.parent, measured.gate).name
    if path.name != expected and not renamed:
        problems.append(f"gate: it is of {measured.gate!r}, whose baseline is called {expected}")
    if problems:
        raise InvalidBaseline(str(path), problems)
    return measured


def read_json(path: Path) -> object:
    """Read one JSON document as it is meant: no key twice, no NaN, no link, no endless file.

    Raises:
        InvalidBaseline: It is none of that.
        OSError: It cannot be read.
    """
    if path.is_symlink():
        raise InvalidBaseline(str(path), ["expected a file of its own, got a link"])
    if path.stat().st_size > _LARGEST_FILE:
        raise InvalidBaseline(str(path), [f"expected at most {_LARGEST_FILE} bytes"])
    try:
        return json.loads(
            path.read_text(encoding="utf-8"), object_pairs_hook=_once, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        problem = f"expected JSON, got something else or a part of it ({error})"
        raise InvalidBaseline(str(path), [problem]) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise ValueError("a key stands there twice")
    return document


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _seal_problems(document: Mapping[str, Any]) -> list[str]:
    problems = [
        f"{key}: expected text, got {_shown(document.get(key))}"
        for key in _SEALS
        if not isinstance(document.get(key), str)
    ]
    try:
        digest = json_digest({k: value for k, value in document.items() if k != "digest"})
    except FgmfError as error:
        return [*problems, f"digest: it has none ({error})"]
    if isinstance(document.get("digest"), str) and document["digest"] != digest:
        problems.append("digest: the file was changed by hand, or by a merge; update the baseline")
    return problems


def _content_problems(measured: MeasuredGate, document: Mapping[str, Any]) -> list[str]:
    problems = [
        f"{key}: it is not that of the file's own contents"
        for key in ("data_digest", "configuration_digest")
        if document.get(key) != getattr(measured, key)
    ]
    if measured.outcome == "inconclusive" or measured.images.unsure:
        problems.append("images: expected every image decided, got undecided or failed ones")
    return problems


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
