"""Read the tables of a gate file: bytes, text, TOML; every way to fail says where."""

from __future__ import annotations

import hashlib
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fgmf.errors import InvalidGateFile, Problem
from fgmf.gatefile.discovery import PROJECT_FILE_NAME

if TYPE_CHECKING:
    from pathlib import Path

_WHOLE_FILE = "(the whole file)"
_POSITION = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)")


@dataclass(frozen=True, kw_only=True)
class Document:
    """A gate file as TOML has it.

    Attributes:
        path: The file.
        digest: ``sha256:<hex>`` of its bytes.
        tables: The gate file's own tables.
        prefix: Where they stand in the file: nothing, or ``("tool", "fgmf")``.
        gate_lines: Line (from 1) of each ``[[gate]]`` header, in order.
    """

    path: Path
    digest: str
    tables: dict[str, Any]
    prefix: tuple[str, ...]
    gate_lines: tuple[int, ...]


def read_document(path: Path) -> Document:
    """Read and parse a gate file.

    Args:
        path: `fgmf.toml`, another TOML file, or a `pyproject.toml`.

    Returns:
        Its tables, unchecked.

    Raises:
        InvalidGateFile: Unreadable, not UTF-8, not TOML, or without the table.
    """
    try:
        contents = path.read_bytes()
    except OSError as error:
        got = f"{type(error).__name__}: {error.strerror or error}"
        raise _refusal(path, _WHOLE_FILE, "a readable file", got) from None
    text = _decoded(path, contents)
    tables = _parsed(path, text)
    prefix = ("tool", "fgmf") if path.name == PROJECT_FILE_NAME else ()
    for part in prefix:
        inner = tables.get(part)
        if not isinstance(inner, dict):
            raise _refusal(path, ".".join(prefix), "a table", repr(inner))
        tables = inner
    return Document(
        path=path,
        digest="sha256:" + hashlib.sha256(contents).hexdigest(),
        tables=tables,
        prefix=prefix,
        gate_lines=_gate_lines(text, prefix),
    )


def _decoded(path: Path, contents: bytes) -> str:
    try:
        return contents.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = contents.count(b"\n", 0, error.start) + 1
        got = f"the byte 0x{contents[error.start]:02x}"
        raise _refusal(path, f"line {line}", "UTF-8 text", got) from None


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise _refusal(path, _WHOLE_FILE, "TOML", "brackets nested too deeply") from None
    except ValueError as error:
        place, got = _place(str(error), text)
        wording = _POSITION.sub("", str(error)).removeprefix("Expected ")
        raise _refusal(path, place, f"TOML ({wording})", got) from None


def _place(message: str, text: str) -> tuple[str, str]:
    """Where a parser's message points, and the line that stands there."""
    match = _POSITION.search(message)
    if match is None:
        return _WHOLE_FILE, "another text"
    lines = text.splitlines() or [""]
    if match[1] is None:
        return f"line {len(lines)}, at the end of the file", repr(lines[-1].strip()[:80])
    number = int(match[1])
    line = lines[number - 1].strip() if number <= len(lines) else ""
    return f"line {number}, column {match[2]}", repr(line[:80])


def _gate_lines(text: str, prefix: tuple[str, ...]) -> tuple[int, ...]:
    keys = r"\s*\.\s*".join((*prefix, "gate"))
    header = re.compile(rf"\s*\[\[\s*{keys}\s*\]\]")
    return tuple(n for n, line in enumerate(text.splitlines(), start=1) if header.match(line))


def _refusal(path: Path, location: str, expected: str, got: str) -> InvalidGateFile:
    return InvalidGateFile(str(path), [Problem(location=location, expected=expected, got=got)])
