"""Check a proof about a mask log offline: this file alone, with nothing but Python's own library.

    python proof_check.py PROOF.json HEAD [--sample ID]   a sample was logged so, says the head
    python proof_check.py PROOF.json OLD NEW              the old head's log begins the new one's

    row    =  16 random bytes | id | digest of the input | 45 bytes for each array
    row    -> leaf of the batch      -> root of the batch, which the record names
    record -> leaf of the stream     -> root of the stream, which the head names
    head   -> its digest             == the one that was kept

Read it before you trust it: it is short for that. It believes nothing that the proof says about
itself, and knows neither the log nor the program that wrote it.

Source: RFC 6962 section 2.1, RFC 9162 sections 2.1.3.2 and 2.1.4.2 (verification).
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

ID_WIDTHS = (8, 16, 32, 64, 128, 256, 512, 1024)
"""Bytes of an id in a row: 8 for whole numbers, the others for texts, padded with zeros."""


class WrongProof(Exception):
    """The proof shows nothing."""


def check_inclusion(proof: dict[str, Any], head: str) -> dict[str, Any]:
    """Check that a sample is in the log that a head is of.

    Args:
        proof: Parsed.
        head: ``sha256:<hex>`` of the head, kept by whoever asks.

    Returns:
        What is shown: run, stream, record, row of the batch, sample, digest of its input, and the
        record's body.

    Raises:
        WrongProof: It shows nothing.
    """
    size, root = _stream_of(proof["head"], head, proof["stream"])
    core = proof["record"].encode()
    record = json.loads(core)
    body = record["body"]
    row = bytes.fromhex(proof["row"])
    batch = _root(_leaf(row), proof["position"], body["count"], proof["row_path"])
    _demand(record["kind"] == "batch", "the record is none of a batch")
    _demand(batch.hex() == body["root"], "the row is not in the batch of the record")
    found = _root(_leaf(core), record["seq"], size, proof["record_path"])
    _demand(found == root, "the record is not in the stream that the head names")
    sample, digest = sample_of(row)
    return {
        "sample": sample,
        "input": digest,
        "run": proof["head"].split("\n")[0].split(" ")[1],
        "stream": proof["stream"],
        "record": record["seq"],
        "row": proof["position"],
        "body": body,
    }


def sample_of(row: bytes) -> tuple[int | str, str]:
    """Read the id of a row's sample and the digest of its input.

    The length of a row tells how wide its id is: no two widths leave the same rest of 45.

    Raises:
        WrongProof: It is no row.
    """
    for width in ID_WIDTHS:
        rest = len(row) - 16 - width - 32
        if rest >= 0 and rest % 45 == 0:
            stored, digest = row[16 : 16 + width], row[16 + width : 48 + width]
            number = int.from_bytes(stored, "big", signed=True)
            text = stored.rstrip(b"\x00")
            return number if width == 8 else text.decode(), "sha256:" + digest.hex()
    raise WrongProof("the row is none of a sample")


def check_consistency(proof: dict[str, Any], old: str, new: str) -> list[str]:
    """Check that the log of one head is a beginning of the log of another.

    Args:
        proof: Parsed.
        old: Digest of the earlier head.
        new: Digest of the later head.

    Returns:
        Names of the streams of the earlier head.

    Raises:
        WrongProof: It shows nothing.
    """
    before, after = _streams(proof["old_head"], old), _streams(proof["new_head"], new)
    for name, (size, root) in before.items():
        _demand(name in after, f"stream {name} is gone")
        later_size, later_root = after[name]
        _demand(size <= later_size, f"stream {name} became shorter")
        path = [bytes.fromhex(entry) for entry in proof["paths"].get(name, [])]
        _extends((size, root), (later_size, later_root), path, name)
    first = [text.split("\n") for text in (proof["old_head"], proof["new_head"])]
    _demand(first[0][0] == first[1][0] and first[0][3] == first[1][3], "they are of two runs")
    return list(before)


def _extends(
    before: tuple[int, bytes], after: tuple[int, bytes], path: list[bytes], name: str
) -> None:
    """RFC 9162, section 2.1.4.2."""
    (first, root), (second, later_root) = before, after
    if first in {0, second}:
        _demand(not path and (first == 0 or root == later_root), f"stream {name} was rewritten")
        return
    if first & (first - 1) == 0:
        path = [root, *path]
    _demand(bool(path), f"the proof about stream {name} is empty")
    node, last = first - 1, second - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    small = large = path[0]
    for entry in path[1:]:
        _demand(last > 0, f"the proof about stream {name} is too long")
        if node & 1 or node == last:
            small, large = _node(entry, small), _node(entry, large)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            large = _node(large, entry)
        node, last = node >> 1, last >> 1
    good = small == root and large == later_root and last == 0
    _demand(good, f"stream {name} was rewritten")


def _root(leaf: bytes, index: int, size: int, path: list[str]) -> bytes:
    """RFC 9162, section 2.1.3.2."""
    _demand(0 <= index < size, "a position lies outside of its tree")
    node, last, found = index, size - 1, leaf
    for entry in map(bytes.fromhex, path):
        _demand(last > 0, "a path is too long")
        if node & 1 or node == last:
            found = _node(entry, found)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            found = _node(found, entry)
        node, last = node >> 1, last >> 1
    _demand(last == 0, "a path is too short")
    return found


def _stream_of(text: str, head: str, stream: str) -> tuple[int, bytes]:
    streams = _streams(text, head)
    _demand(stream in streams, f"the head names no stream {stream}")
    return streams[stream]


def _streams(text: str, head: str) -> dict[str, tuple[int, bytes]]:
    digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    _demand(digest == head, "the proof is about another head than the one given")
    lines = text.rstrip("\n").split("\n")
    _demand(lines[0].startswith("fgmf-mask-log/1 "), "the head is of another format")
    streams = {}
    for line in lines[4:]:
        word, name, size, root = line.split(" ")
        _demand(word == "stream", "the head is of another format")
        streams[name] = (int(size), base64.b64decode(root, validate=True))
    return streams


def _leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _demand(good: bool, what: str) -> None:  # noqa: FBT001 - a check and its words
    if not good:
        raise WrongProof(what)


def check_text(text: str, heads: list[str], sample: str | None = None) -> str:
    """Check a proof as it stands in a file; say what it shows.

    Args:
        text: Contents of the file.
        heads: One digest for an inclusion, two for a consistency.
        sample: Id of the sample that an inclusion must be about; None takes any, and says which.

    Raises:
        WrongProof: It shows nothing.
    """
    try:
        proof = json.loads(text)
        if proof["proof"] == "inclusion" and len(heads) == 1:
            shown = check_inclusion(proof, heads[0])
            named = json.dumps(shown["sample"])
            about = f"the proof is about sample {named}, and {sample} was asked for"
            _demand(sample in {None, str(shown["sample"])}, about)
            place = f"row {shown['row']} of record {shown['record']} of stream {shown['stream']}"
            body = json.dumps(shown["body"], sort_keys=True)
            what = f"sample {named} with input {shown['input']}"
            return f"in the log: {what}, {place} of run {shown['run']}: {body}"
        if proof["proof"] == "consistency" and len(heads) == 2 and sample is None:
            names = ", ".join(check_consistency(proof, heads[0], heads[1]))
            return f"the old log is a beginning of the new one: streams {names}"
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise WrongProof(f"no proof: {type(error).__name__}: {error}") from None
    raise WrongProof("expected one head for an inclusion, two and no sample for a consistency")


if __name__ == "__main__":
    words, asked = sys.argv[1:], None
    try:
        if "--sample" in words:
            at = words.index("--sample")
            asked = words[at + 1]
            words = words[:at] + words[at + 2 :]
        sys.stdout.write(check_text(Path(words[0]).read_text("utf-8"), words[1:], asked) + "\n")
    except (WrongProof, OSError, IndexError) as problem:
        sys.exit(f"NOT shown: {problem}")
