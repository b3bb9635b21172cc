"""One record, one line: canonical JSON that names the record before it and carries its own digest.

    core = canonical JSON of {"at", "body", "kind", "prev", "seq"}
    leaf = SHA-256(0x00 || core)                       the record's leaf in the stream's Merkle tree
    line = core with the last member "sha256": leaf, and a newline
    prev = leaf of the record before; of the first record: 32 zero bytes

The digest that a line carries tells a torn or flipped line from a sound one. It proves nothing:
whoever can write the file can write a digest.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fgmf.canonical import canonical_json
from fgmf.errors import BrokenRecord, InvalidInput
from fgmf.mask_log.bodies import is_usual
from fgmf.mask_log.tree import leaf_hash

if TYPE_CHECKING:
    from fgmf.types import Json

NO_RECORD: Final = bytes(32)
"""What the first record of a stream names as the one before it."""
LONGEST_LINE: Final = 8 * 2**20
"""Bytes of the longest line that is written or read."""
_TAIL: Final = b',"sha256":"'
_TAIL_BYTES: Final = len(_TAIL) + 64 + len(b'"}\n')
_KEYS: Final = ("at", "body", "kind", "prev", "seq")
_parser = json.JSONDecoder()
_plain_encoder = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
)


class Record(NamedTuple):
    """A record that is what its digest says.

    Attributes:
        kind: Such as ``begin``, ``batch``, ``end``.
        seq: Its number in the stream, from 0.
        at: When it was written, in milliseconds since 1970 (UTC).
        prev: Leaf hash of the record before it, 32 bytes.
        body: What it says.
        leaf: Its own leaf hash, 32 bytes.
        usual: Whether its bytes showed already that its body is what its kind has.
    """

    kind: str
    seq: int
    at: int
    prev: bytes
    body: dict[str, Any]
    leaf: bytes
    usual: bool = False


def encode_record(
    *, kind: str, seq: int, at: int, prev: bytes, body: dict[str, Json]
) -> tuple[bytes, Record]:
    """Write one record.

    Args:
        kind: Kind of record.
        seq: Its number in the stream.
        at: Milliseconds since 1970 (UTC).
        prev: Leaf hash of the record before it.
        body: What it says.

    Returns:
        The line with its newline, and the record.

    Raises:
        InvalidInput: The body is not JSON of finite numbers, or the line is too long.
    """
    document: dict[str, Json] = {"at": at, "body": body, "kind": kind, "prev": prev.hex()}
    document["seq"] = seq
    core = _usual_core(document)
    usual = core is not None
    if core is None:
        core = encode_canonical(document)
    leaf = leaf_hash(core)
    line = core[:-1] + _TAIL + leaf.hex().encode() + b'"}\n'
    if len(line) > LONGEST_LINE:
        message = f"expected a record of at most {LONGEST_LINE} bytes, got {len(line)}"
        raise InvalidInput(f"{message}; log smaller batches, or shorter metadata")
    return line, Record(kind, seq, at, prev, body, leaf, usual)


def decode_record(line: bytes) -> Record:
    """Read one record.

    Args:
        line: With its newline.

    Raises:
        BrokenRecord: The line is not what its own digest says, or no record at all.
    """
    core, leaf = split_line(line)
    if is_usual(core) is None:
        return _unusual(core, leaf)
    document = _parser.raw_decode(core.decode("ascii"))[0]
    prev = bytes.fromhex(document["prev"])
    kind, seq, at, body = document["kind"], document["seq"], document["at"], document["body"]
    return Record(kind, seq, at, prev, body, leaf, True)  # noqa: FBT003 - by name is slow


def _unusual(core: bytes, leaf: bytes) -> Record:
    """Read a record whose bytes do not show at a glance that it is one."""
    try:
        document = _parse(core)
    except (ValueError, RecursionError) as error:
        raise BrokenRecord(f"no JSON ({type(error).__name__})") from None
    if type(document) is not dict or tuple(document) != _KEYS:
        raise BrokenRecord(f"expected the members {', '.join(_KEYS)} and sha256")
    kind, seq, at, body = document["kind"], document["seq"], document["at"], document["body"]
    sound = type(kind) is str and type(body) is dict and _is_count(seq) and _is_count(at)
    if not sound:
        raise BrokenRecord("a member is of the wrong type")
    return Record(kind=kind, seq=seq, at=at, prev=_hash(document["prev"]), body=body, leaf=leaf)


def split_line(line: bytes) -> tuple[bytes, bytes]:
    """Take a line apart into what its digest is about, and that digest.

    Raises:
        BrokenRecord: The digest is not that of the line.
    """
    if len(line) <= _TAIL_BYTES or line[-3:] != b'"}\n' or line[:2] != b'{"':
        raise BrokenRecord("expected a whole line of canonical JSON that ends with its digest")
    core = line[:-_TAIL_BYTES] + b"}"
    leaf = leaf_hash(core)
    if line[-_TAIL_BYTES:] != _TAIL + leaf.hex().encode() + b'"}\n':
        raise BrokenRecord("its digest is not that of its contents")
    return core, leaf


def encode_canonical(document: dict[str, Json]) -> bytes:
    """Encode as RFC 8785 does, quickly where that is possible.

    Documents without floats, of plain keys, and of integers below 2**53 are what Python's own
    encoder writes in the same bytes, ten times as fast; all others go through `rfc8785`.

    Raises:
        InvalidInput: It is not JSON of finite numbers.
    """
    if _is_plain(document):
        try:
            return _plain_encoder.encode(document).encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(f"expected valid text in a record, got: {error.reason}") from None
    return canonical_json(document)


def _usual_core(document: dict[str, Json]) -> bytes | None:
    """Encode a record that is of the usual form: its bytes show that they are canonical."""
    try:
        core = _plain_encoder.encode(document).encode("ascii")
    except (TypeError, ValueError, RecursionError):
        return None
    return None if is_usual(core) is None else core


def _is_plain(value: Json) -> bool:
    kind = type(value)
    if kind is dict:
        items = value.items()  # type: ignore[union-attr]
        return all(type(k) is str and k.isascii() and _is_plain(v) for k, v in items)
    if kind is list:
        return all(map(_is_plain, value))  # type: ignore[arg-type]
    if kind is int:
        return -(2**53) < value < 2**53  # type: ignore[operator]
    return kind is str or kind is bool or value is None


def _parse(core: bytes) -> Any:  # noqa: ANN401 - unchecked input
    """Parse, and hold the bytes against the canonical form of what they say."""
    text = core.decode("utf-8")
    for parse_int in (None, _number):
        document = json.loads(text, parse_int=parse_int)
        with suppress(InvalidInput):
            if type(document) is dict and encode_canonical(document) == core:
                return document
    raise BrokenRecord("expected canonical JSON (RFC 8785)")


def _number(digits: str) -> int | float:
    """RFC 8785 writes large floats in digits only."""
    value = int(digits)
    return value if abs(value) < 2**53 else float(value)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _hash(value: object) -> bytes:
    if type(value) is not str or len(value) != 64:
        raise BrokenRecord("expected 64 hexadecimal digits")
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise BrokenRecord("expected 64 hexadecimal digits") from None
