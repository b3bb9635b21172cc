"""Corruptions of mask logs as strategies: a log is its files, by their path in it."""

from __future__ import annotations

import base64
import json
import random
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from mask_logs import batch_of, body_of, hash_of

from fgmf.errors import MaskLogUnreadable
from fgmf.mask_log import (
    Expectation,
    LogOutcome,
    Manifest,
    VerifySettings,
    WriterSettings,
    verify_log,
)
from fgmf.mask_log.anchoring import head_name
from fgmf.mask_log.heads import Head, StreamHead, checkpoint_text
from fgmf.mask_log.keeping import keep_head
from fgmf.mask_log.manifest import write_manifest
from fgmf.mask_log.places import LogDirectory
from fgmf.mask_log.records import NO_RECORD, encode_record
from fgmf.mask_log.rows import ArrayForm, Layout
from fgmf.mask_log.tree import Frontier
from fgmf.mask_log.writing import StreamWriter

if TYPE_CHECKING:
    from pathlib import Path

Files = dict[str, bytes]

LAYOUTS = [
    Layout(
        id_bytes=0,
        input=ArrayForm(name="input", dtype="float32", shape=(1, 3, 3)),
        arrays=forms,
        layer={"m_min": 0.5, "name": "mask"},
    )
    for forms in (
        (
            ArrayForm(name="grid", dtype="float32", shape=(1, 2, 2)),
            ArrayForm(name="input", dtype="float32", shape=(1, 3, 3)),
        ),
        (ArrayForm(name="saliency_mask", dtype="bits", shape=(1, 3, 3)),),
        (ArrayForm(name="saliency_mask", dtype="float32", shape=(1, 20, 20)),),
    )
]


@dataclass(frozen=True, kw_only=True)
class IntactLog:
    """A complete log, the head that was kept elsewhere, and a log of another run."""

    files: Files
    head: str
    other: Files


def intact_logs(place: Path, *, count: int, seed: int) -> list[IntactLog]:
    """Write random logs, and read them back."""
    draw = random.Random(seed)
    logs = []
    for number in range(count):
        head = make_log(draw, place / f"{number}")
        make_log(draw, place / f"other-{number}", run="other")
        files, other = read_files(place / f"{number}"), read_files(place / f"other-{number}")
        logs.append(IntactLog(files=files, head=head, other=other))
    return logs


def make_log(draw: random.Random, path: Path, *, run: str = "run") -> str:
    """Write a random complete log; return its head."""
    names = ("a", "b")[: draw.randint(1, 2)]
    steps, size = draw.randint(1, 6), draw.randint(1, 3)
    layout = draw.choice(LAYOUTS)
    settings = WriterSettings(
        checkpoint_records=draw.choice([2, 3, 1000]),
        segment_bytes=draw.choice([600, 2000, 10**6]),
    )
    expected = Expectation(steps=steps, sample_count=steps * size)
    manifest = Manifest(run=run, streams=dict.fromkeys(names, expected))
    directory = LogDirectory(path=path)
    write_manifest(directory, manifest)
    seed = draw.randint(0, 99)
    for name in names:
        writer = StreamWriter(directory, name, manifest, settings=settings)
        for step in range(steps):
            ids = range(step * size, (step + 1) * size)
            batch = batch_of(ids, seed=seed + hash_of(name), layout=layout)
            writer.append_batch(batch, body_of(step))
        writer.close()
    return keep_head(directory, manifest).digest


def read_files(path: Path) -> Files:
    """Read a log."""
    found = {
        str(entry.relative_to(path)): entry.read_bytes()
        for entry in path.rglob("*")
        if entry.is_file() and entry.name != "lock"
    }
    return dict(sorted(found.items()))


def write_files(path: Path, files: Files) -> None:
    """Write a log anew."""
    shutil.rmtree(path, ignore_errors=True)
    for name, contents in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(contents)


def _chosen(draw: Any, files: Files, suffix: str = "", *, longest: bool = False) -> str:
    names = [name for name in files if name.endswith(suffix) and files[name]]
    return max(names, key=lambda n: len(files[n])) if longest else draw(st.sampled_from(names))


def _lines(files: Files, name: str) -> list[bytes]:
    return files[name].splitlines(keepends=True)


@st.composite
def flips(draw: Any, files: Files, other: Files) -> Files:
    """One bit of any file."""
    name = _chosen(draw, files)
    contents = bytearray(files[name])
    at = draw(st.integers(0, 8 * len(contents) - 1))
    contents[at // 8] ^= 1 << at % 8
    return {**files, name: bytes(contents)}


@st.composite
def deletions(draw: Any, files: Files, other: Files) -> Files:
    """One record, or a whole file."""
    if draw(st.booleans()):
        name = draw(st.sampled_from([n for n in files if n.endswith((".jsonl", ".pack", "json"))]))
        return {key: value for key, value in files.items() if key != name}
    name = _chosen(draw, files, ".jsonl")
    lines = _lines(files, name)
    del lines[draw(st.integers(0, len(lines) - 1))]
    return {**files, name: b"".join(lines)}


@st.composite
def duplicates(draw: Any, files: Files, other: Files) -> Files:
    """One record twice, anywhere; or a stream under another name."""
    if draw(st.integers(0, 4)) == 0:
        copied = {k.replace("streams/a/", "streams/c/"): v for k, v in files.items()}
        return {**files, **copied}
    name = _chosen(draw, files, ".jsonl")
    lines = _lines(files, name)
    lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(lines)))
    return {**files, name: b"".join(lines)}


@st.composite
def swaps(draw: Any, files: Files, other: Files) -> Files:
    """Two records, or two segments."""
    name = _chosen(draw, files, ".jsonl", longest=True)
    lines = _lines(files, name)
    if len(lines) < 2:
        return {**files, name: b""}
    first = draw(st.integers(0, len(lines) - 2))
    second = draw(st.integers(first + 1, len(lines) - 1))
    lines[first], lines[second] = lines[second], lines[first]
    return {**files, name: b"".join(lines)}


@st.composite
def truncations(draw: Any, files: Files, other: Files) -> Files:
    """The end of a file, at any byte or after any record; with the claims about it, or not."""
    name = _chosen(draw, files, draw(st.sampled_from([".jsonl", ".pack", ""])))
    ends = [at + 1 for at, byte in enumerate(files[name]) if byte == 10]
    size = draw(st.integers(0, len(files[name]) - 1) | st.sampled_from([0, *ends[:-1]]))
    cut = {**files, name: files[name][:size]}
    if draw(st.booleans()):
        claims = ("checkpoint", ".txt")
        cut = {k: v for k, v in cut.items() if k == name or not k.endswith(claims)}
    return cut


@st.composite
def splices(draw: Any, files: Files, other: Files) -> Files:
    """Records, or a whole stream, of another log."""
    name = _chosen(draw, files, ".jsonl")
    foreign = _lines(other, _chosen(draw, other, ".jsonl"))
    kind = draw(st.sampled_from(["stream", "replace", "suffix", "append"]))
    if kind == "stream":
        kept = {k: v for k, v in files.items() if not k.startswith("streams/a/")}
        return {**kept, **{k: v for k, v in other.items() if k.startswith("streams/a/")}}
    lines = _lines(files, name)
    at = draw(st.integers(0, len(lines) - 1))
    if kind == "replace":
        lines[at] = draw(st.sampled_from(foreign))
    elif kind == "suffix":
        lines = [*lines[:at], *foreign[min(at, len(foreign) - 1) :]]
    else:
        lines.append(draw(st.sampled_from(foreign)))
    return {**files, name: b"".join(lines)}


@st.composite
def garbage(draw: Any, files: Files, other: Files) -> Files:
    """Bytes after the end of a file, or before its beginning."""
    name = _chosen(draw, files)
    added = draw(
        st.binary(min_size=1, max_size=40) | st.sampled_from([b"\n", b"{}\n", b"\x00" * 9])
    )
    contents = files[name]
    return {**files, name: contents + added if draw(st.booleans()) else added + contents}


def _streams(files: Files) -> dict[str, list[list[dict]]]:
    """Records of all streams as documents, by segment."""
    streams: dict[str, list[list[dict]]] = {}
    for name in files:
        if name.endswith(".jsonl"):
            documents = [json.loads(line) for line in _lines(files, name)]
            streams.setdefault(name.split("/")[1], []).append(documents)
    return streams


def rewritten(files: Files, streams: dict[str, list[list[dict]]], *, honest: bool) -> Files:
    """Write streams anew with good digests and chains, as someone who can write the log would.

    Args:
        files: Of the log.
        streams: Changed records.
        honest: Whether roots, checkpoints and heads are made anew as well.
    """
    result = {k: v for k, v in files.items() if not (honest and k.startswith("heads/"))}
    heads = []
    for name, segments in streams.items():
        tree, prev, seq = Frontier(), NO_RECORD, 0
        for number, documents in enumerate(segments):
            lines = []
            for document in documents:
                body = document["body"]
                if honest:
                    _settle(document["kind"], body, tree, seq)
                line, record = encode_record(
                    kind=document["kind"], seq=seq, at=document["at"], prev=prev, body=body
                )
                lines.append(line)
                tree.append(record.leaf)
                prev, seq = record.leaf, seq + 1
            result[f"streams/{name}/{number:06d}.jsonl"] = b"".join(lines)
        heads.append(StreamHead(stream=name, size=seq, root=tree.root()))
    if honest:
        first = next(iter(streams.values()))[0][0]["body"]
        head = Head(run=first["run"], manifest=first["manifest"], streams=tuple(sorted(heads)))
        for stream in heads:
            text = checkpoint_text(head.run, stream)
            result[f"streams/{stream.stream}/checkpoint"] = text.encode()
        result[f"heads/{head_name(head)}"] = head.text().encode()
    return result


def _settle(kind: str, body: dict, tree: Frontier, seq: int) -> None:
    if kind in {"checkpoint", "end"}:
        body["root"] = tree.root().hex()
        body["records" if kind == "end" else "size"] = seq
    if kind == "segment":
        body["peaks"], body["size"] = [peak.hex() for peak in tree.peaks], seq


@st.composite
def rewrites(draw: Any, files: Files, other: Files) -> Files:
    """A suffix with good digests, roots and heads: only a head from outside knows better."""
    streams = _streams(files)
    segments = streams[draw(st.sampled_from(sorted(streams)))]
    documents = draw(st.sampled_from([s for s in segments if s]))
    document = draw(st.sampled_from(documents))
    document["at"] += draw(st.integers(1, 1000))
    return rewritten(files, streams, honest=True)


@st.composite
def wrong_roots(draw: Any, files: Files, other: Files) -> Files:
    """Another root in a record that says one, or in a checkpoint or head; chains are good."""
    root = draw(st.binary(min_size=32, max_size=32))
    if draw(st.booleans()):
        name = _chosen(draw, files, draw(st.sampled_from(["checkpoint", ".txt"])))
        lines = files[name].decode().splitlines()
        lines[2] = base64.b64encode(root).decode()
        return {**files, name: ("\n".join(lines) + "\n").encode()}
    streams = _streams(files)
    document = _saying(draw, streams, "root")
    document["body"]["root"] = root.hex()
    return rewritten(files, streams, honest=False)


@st.composite
def wrong_sizes(draw: Any, files: Files, other: Files) -> Files:
    """Twice or half of a size or count that something says; chains are good."""
    double = draw(st.booleans())
    if draw(st.booleans()):
        name = _chosen(draw, files, draw(st.sampled_from(["checkpoint", ".txt"])))
        lines = files[name].decode().splitlines()
        lines[1] = str(int(lines[1]) * 2 if double else int(lines[1]) // 2)
        return {**files, name: ("\n".join(lines) + "\n").encode()}
    streams = _streams(files)
    keys = ["records", "samples", "batches", "pack", "size", "count", "seq"]
    document = _saying(draw, streams, *keys)
    said = document["body"]
    key = draw(st.sampled_from([k for k in keys if type(said.get(k)) is int and said[k]]))
    said[key] = said[key] * 2 if double else said[key] // 2
    return rewritten(files, streams, honest=False)


def _saying(draw: Any, streams: dict[str, list[list[dict]]], *keys: str) -> dict:
    """A record that says something under one of the keys."""
    documents = [d for segments in streams.values() for s in segments for d in s]
    kind = str if keys == ("root",) else int
    found = [
        d for d in documents if any(type(d["body"].get(k)) is kind and d["body"][k] for k in keys)
    ]
    return draw(st.sampled_from(found))


@st.composite
def replaced_arrays(draw: Any, files: Files, other: Files) -> Files:
    """Rows or arrays of a pack by other bytes, of another place or of another log."""
    name = _chosen(draw, files, ".pack")
    contents = bytearray(files[name])
    source = other[_chosen(draw, other, ".pack")] if draw(st.booleans()) else files[name]
    length = draw(st.integers(1, min(64, len(contents), len(source))))
    at = draw(st.integers(0, len(contents) - length))
    start = draw(st.integers(0, len(source) - length))
    contents[at : at + length] = source[start : start + length]
    return {**files, name: bytes(contents)}


@st.composite
def edited_manifests(draw: Any, files: Files, other: Files) -> Files:
    """Another manifest in good form."""
    document = json.loads(files["manifest.json"])
    stream = document["streams"]["a"]
    change = draw(st.sampled_from(["run", "every", "skips", "facts", "steps", "gone", "new"]))
    edits: dict[str, Any] = {"run": "other", "every": 2, "skips": ["attack"], "facts": {"x": 1}}
    if change in edits:
        document[change] = edits[change]
    elif change == "steps":
        stream["steps"] = draw(st.integers(0, 9).filter(lambda n: n != stream["steps"]))
    elif change == "gone":
        del document["streams"]["a"]
    else:
        document["streams"]["z"] = {}
    contents = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    return {**files, "manifest.json": contents}


CLASSES = {
    "flip": flips,
    "delete": deletions,
    "duplicate": duplicates,
    "swap": swaps,
    "truncate": truncations,
    "splice": splices,
    "rewritten suffix": rewrites,
    "garbage": garbage,
    "wrong root": wrong_roots,
    "wrong size": wrong_sizes,
    "array replaced": replaced_arrays,
    "manifest edited": edited_manifests,
}


def found_as(path: Path, log: IntactLog, *, rewritten: bool) -> str:
    """How a corruption is found: tampered or unreadable; torn, where it looks like a crash; or not.

    Args:
        path: Of the corrupted log.
        log: What it was.
        rewritten: Whether only the head can know.
    """
    try:
        with_head = verify_log(path, VerifySettings(head=log.head)).outcome
        alone = verify_log(path).outcome
    except MaskLogUnreadable:
        return "tampered"
    if alone is LogOutcome.COMPLETE and not rewritten:
        return "not"
    return str(with_head) if with_head in {LogOutcome.TAMPERED, LogOutcome.TORN} else "not"
