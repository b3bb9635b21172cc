"""The short way to read a record takes nothing that the long way refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from mask_logs import write_log

from fgmf.errors import BrokenRecord
from fgmf.mask_log import records, verify_log
from fgmf.mask_log.bodies import _CHECKS, check_body, is_usual
from fgmf.mask_log.records import NO_RECORD, decode_record, encode_record, split_line
from fgmf.mask_log.tree import leaf_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

_COUNTS = st.integers(0, 10**15 - 1)
_TEXTS = st.text(st.characters(codec="ascii"), max_size=6)
_HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
_MEMBERS = {
    "is_count": _COUNTS,
    "_is_text": _TEXTS,
    "_is_flag": st.booleans(),
    "_is_hash": _HASHES,
    "_is_hash_or_none": st.none() | _HASHES,
    "_is_counts": st.dictionaries(_TEXTS, _COUNTS, max_size=2),
    "_is_span": st.lists(_COUNTS, min_size=3, max_size=3),
    "_is_hashes": st.lists(_HASHES, max_size=2),
    "_is_integers": st.lists(st.integers(-(10**14), 10**14), max_size=4),
    "_is_list": st.lists(_COUNTS, max_size=2),
    "_is_object": st.just({}),
}
_EDITS = [*'0123456789-+.eE"\\{}[],:abcfF \t\n\x00\x7f', "é", "00", "null", "true", '""', "\\u0041"]


@st.composite
def _cores(draw: st.DrawFn) -> bytes:
    """The core of a record of some kind."""
    kind = draw(st.sampled_from([*_CHECKS, "batch"]))
    body = {name: draw(_MEMBERS[check.__name__]) for name, check in _CHECKS[kind].items()}
    line, _ = encode_record(kind=kind, seq=draw(_COUNTS), at=5, prev=NO_RECORD, body=body)
    return split_line(line)[0]


@st.composite
def _edited(draw: st.DrawFn) -> bytes:
    """A core that was edited at some places."""
    text = draw(_cores()).decode()
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(1, len(text) - 1))
        end = min(len(text) - 1, start + draw(st.integers(0, 3)))
        text = text[:start] + draw(st.sampled_from(_EDITS)) + text[end:]
    return text.encode()


def _names(checks: Mapping[str, Callable[[object], bool]]) -> list[str]:
    return [check.__name__ for check in checks.values()]


def _line(core: bytes) -> bytes:
    return core[:-1] + b',"sha256":"' + leaf_hash(core).hex().encode() + b'"}\n'


_SPECIMENS: dict[str, tuple[Any, ...]] = {
    "is_count": (0, 10, 10**15 - 1),
    "_is_text": ("", "a~b", "x"),
    "_is_flag": (True, False, True),
    "_is_hash": ("0" * 64, "9a" * 32, "ff" * 32),
    "_is_hash_or_none": (None, "9a" * 32, "ff" * 32),
    "_is_counts": ({}, {"b": 10}, {"a": 0, "b": 1}),
    "_is_span": ([0, 10, 999], [1, 1, 1], [0, 0, 0]),
    "_is_integers": ([], [0], [-10, 0, 17]),
}
_WITH_FORM = [kind for kind, checks in _CHECKS.items() if set(_names(checks)) <= set(_SPECIMENS)]


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("kind", _WITH_FORM)
def test_what_looks_usual_is_canonical_and_of_its_kind(kind: str, which: int) -> None:
    checks = _CHECKS[kind]
    body = {
        name: _SPECIMENS[check][which] for name, check in zip(checks, _names(checks), strict=True)
    }
    line, _ = encode_record(kind=kind, seq=10, at=0, prev=NO_RECORD, body=body)
    core = split_line(line)[0]
    assert (is_usual(core) is None) == ({"a": 0, "b": 1} in body.values())
    for near in _near(core.decode()):
        if is_usual(near) is not None:
            document = json.loads(near)
            assert rfc8785.dumps(document) == near
            assert tuple(document) == ("at", "body", "kind", "prev", "seq")
            check_body(document["kind"], document["body"])


def _near(text: str) -> Iterator[bytes]:
    """All texts in which something is put in, left out, doubled or exchanged at one place."""
    for start in range(len(text) + 1):
        for end in range(start, min(len(text), start + 2) + 1):
            for new in (*_EDITS, text[start:end] * 2):
                yield (text[:start] + new + text[end:]).encode()


@given(core=_cores() | _edited())
def test_both_ways_to_read_a_record_agree(core: bytes) -> None:
    found = _outcome(core)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "is_usual", lambda _core: None)
        assert found == _outcome(core)


def _outcome(core: bytes) -> tuple[Any, ...] | None:
    try:
        record = decode_record(_line(core))
        check_body(record.kind, record.body)
    except BrokenRecord:
        return None
    return record[:-1]


def test_the_batches_that_are_written_are_usual(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log")
    lines = log.directory.records("train-0", 0).read_bytes().splitlines(keepends=True)
    read = [decode_record(line) for line in lines]
    batches = [record for record in read if record.kind == "batch"]
    assert batches
    assert all(record.usual for record in batches)


@pytest.mark.parametrize(
    ("old", "new"), [(b'"count":', b'"count":-'), (b'"pass":0', b'"pass":"0"')]
)
def test_an_unusual_record_is_checked_where_it_follows(
    tmp_path: Path, old: bytes, new: bytes
) -> None:
    log = write_log(tmp_path / "log")
    path = log.directory.records("train-0", 0)
    lines = path.read_bytes().splitlines(keepends=True)
    core = split_line(lines[2])[0]
    assert old in core
    lines[2] = _line(core.replace(old, new))
    assert not decode_record(lines[2]).usual
    path.write_bytes(b"".join(lines))
    assert "is not what it should be" in str(verify_log(log.path).troubles)
