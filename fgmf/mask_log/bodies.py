"""What records say, kind by kind: members and their types. Nothing else is a record.

Most records of a log look alike, so there are two ways to find that one is what it should be::

    usual form   one pattern over its bytes: canonical JSON, these members, of these types
    any other    parsed, encoded again and compared (`records`), then `check_body`

The pattern is made of the same table as `check_body`, and takes less: texts of plain ASCII, numbers
of 15 digits, objects of one member. What it does not take goes the other way.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from fgmf.errors import BrokenRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_HEX: Final = re.compile(r"[0-9a-f]{64}")
_LARGEST: Final = 2**53


def is_count(value: object) -> bool:
    """Say whether a value is a whole number from 0 that JSON holds exactly."""
    return type(value) is int and 0 <= value < _LARGEST


def _is_text(value: object) -> bool:
    return type(value) is str


def _is_flag(value: object) -> bool:
    return type(value) is bool


def _is_hash(value: object) -> bool:
    return type(value) is str and _HEX.fullmatch(value) is not None


def _is_hash_or_none(value: object) -> bool:
    return value is None or _is_hash(value)


def _is_object(value: object) -> bool:
    return type(value) is dict


def _is_counts(value: object) -> bool:
    return type(value) is dict and all(is_count(entry) for entry in value.values())


def _is_span(value: object) -> bool:
    return type(value) is list and len(value) == 3 and all(is_count(entry) for entry in value)


def _is_hashes(value: object) -> bool:
    return type(value) is list and all(_is_hash(entry) for entry in value)


def _is_integers(value: object) -> bool:
    return type(value) is list and all(type(entry) is int for entry in value)


def _is_list(value: object) -> bool:
    return type(value) is list


_CHECKS: Final[Mapping[str, Mapping[str, Callable[[object], bool]]]] = {
    "begin": {
        "attempt": is_count,
        "code": _is_text,
        "every": is_count,
        "format": _is_text,
        "manifest": _is_text,
        "run": _is_text,
        "stream": _is_text,
    },
    "resume": {"attempt": is_count, "code": _is_text},
    "layout": {"id": is_count, "layout": _is_object},
    "batch": {
        "count": is_count,
        "ids": _is_text,
        "layout": is_count,
        "pack": _is_span,
        "pass": is_count,
        "purpose": _is_text,
        "root": _is_hash,
        "skipped": _is_counts,
        "step": is_count,
        "training": _is_flag,
        "weights": _is_hash_or_none,
    },
    "skipped": {"skipped": _is_counts},
    "weights": {
        "digest": _is_hash,
        "layer": _is_text,
        "pack": _is_span,
        "step": is_count,
        "tensors": _is_list,
    },
    "lost": {
        "batches": is_count,
        "first_step": is_count,
        "last_step": is_count,
        "reason": _is_text,
        "samples": is_count,
    },
    "predictions": {"classes": _is_integers, "of": is_count},
    "note": {"note": _is_object},
    "checkpoint": {"root": _is_hash, "size": is_count},
    "segment": {"pack": is_count, "peaks": _is_hashes, "segment": is_count, "size": is_count},
    "repair": {"pack": is_count, "removed": _is_counts, "sha256": _is_hash},
    "erasure": {
        "leaf": _is_hash,
        "pack": _is_list,
        "reason": _is_text,
        "row": is_count,
        "seq": is_count,
        "stream": _is_text,
    },
    "end": {
        "batches": is_count,
        "lost": is_count,
        "pack": is_count,
        "records": is_count,
        "root": _is_hash,
        "samples": is_count,
        "skipped": is_count,
        "status": _is_text,
    },
}
KINDS: Final = tuple(_CHECKS)

_COUNT_FORM: Final = "(?:0|[1-9][0-9]{0,14})"
_INTEGER_FORM: Final = "(?:0|-?[1-9][0-9]{0,14})"
_TEXT_FORM: Final = r'"[ !#-\[\]-~]*"'
_HASH_FORM: Final = '"[0-9a-f]{64}"'
_FORMS: Final[Mapping[Callable[[object], bool], str]] = {
    is_count: _COUNT_FORM,
    _is_text: _TEXT_FORM,
    _is_flag: "(?:true|false)",
    _is_hash: _HASH_FORM,
    _is_hash_or_none: f"(?:null|{_HASH_FORM})",
    _is_counts: rf"\{{(?:{_TEXT_FORM}:{_COUNT_FORM})?\}}",
    _is_span: rf"\[{_COUNT_FORM},{_COUNT_FORM},{_COUNT_FORM}\]",
    _is_integers: rf"\[(?:{_INTEGER_FORM}(?:,{_INTEGER_FORM})*)?\]",
}
"""Canonical JSON that a check takes, where there is a pattern for it. Never more than it takes."""


def _body_form(kind: str, checks: Mapping[str, Callable[[object], bool]]) -> str:
    members = (f'"{name}":{_FORMS[check]}' for name, check in sorted(checks.items()))
    return rf'\{{{",".join(members)}\}},"kind":"{kind}"'


_BODY_FORMS: Final = "|".join(
    _body_form(kind, checks)
    for kind, checks in _CHECKS.items()
    if all(check in _FORMS for check in checks.values())
)
is_usual: Final = re.compile(
    rf'\{{"at":{_COUNT_FORM},"body":(?:{_BODY_FORMS}),"prev":{_HASH_FORM},"seq":{_COUNT_FORM}\}}'.encode()
).fullmatch
"""Match the core of a record of the usual form: its body needs no `check_body`."""


def check_body(kind: str, body: Mapping[str, Any]) -> None:
    """Check the members of a record.

    Raises:
        BrokenRecord: The kind is unknown, or a member is missing, unknown or of a wrong type.
    """
    checks = _CHECKS.get(kind)
    if checks is None:
        raise BrokenRecord(f"unknown kind of record {kind!r:.40}")
    if body.keys() != checks.keys():
        raise BrokenRecord(f"expected the members {', '.join(checks)} in a record of kind {kind}")
    for name, check in checks.items():
        if not check(body[name]):
            raise BrokenRecord(f"member {name} of a record of kind {kind} is not what it should be")
