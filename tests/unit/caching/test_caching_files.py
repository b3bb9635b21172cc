"""Files of outcomes: damage of every kind is left aside with a notice, and never raises."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from fgmf.caching.shards import evict, read_shards, write_shard
from fgmf.canonical import canonical_json, json_digest, tensor_digest
from fgmf.robustness.known import KnownOutcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RUN, OTHER_RUN = "a" * 64, "b" * 64
LIKE = torch.zeros(1, 1, 2, 2)
IMAGE = torch.rand(1, 2, 2, generator=torch.Generator().manual_seed(0))
BROKEN, ROBUST = "1" * 64, "2" * 64
OUTCOMES = {
    BROKEN: KnownOutcome(run=1, image=IMAGE, predicted=3, radii={0: 0.25}),
    ROBUST: KnownOutcome(radii={0: float("inf"), 2: 1.0}),
}


class Reader:
    """Reads a cache, and remembers what it was told about damaged files."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def __call__(self, directory: Path, like: torch.Tensor = LIKE) -> dict[str, KnownOutcome]:
        def note(path: Path, why: str) -> None:
            self.said.append(why)

        return read_shards(directory, RUN, like=like, on_damage=note)


@pytest.fixture
def read() -> Reader:
    return Reader()


def only_file(directory: Path) -> Path:
    (path,) = (directory / RUN).iterdir()
    return path


def test_what_is_written_is_read(tmp_path: Path, read: Reader) -> None:
    write_shard(tmp_path, RUN, OUTCOMES)
    found = read(tmp_path)
    assert found[ROBUST] == OUTCOMES[ROBUST]
    assert found[BROKEN].image is not None
    assert torch.equal(found[BROKEN].image, IMAGE)
    assert (found[BROKEN].run, found[BROKEN].predicted, found[BROKEN].radii) == (1, 3, {0: 0.25})
    assert (tmp_path / ".gitignore").read_text() == "*\n"
    assert read.said == []
    assert read_shards(tmp_path, OTHER_RUN, like=LIKE, on_damage=print) == {}


def test_survivors_alone_need_no_images(tmp_path: Path, read: Reader) -> None:
    write_shard(tmp_path, RUN, {ROBUST: KnownOutcome()})
    assert read(tmp_path) == {ROBUST: KnownOutcome()}


def test_files_add_up_and_contradictions_are_left_out(tmp_path: Path, read: Reader) -> None:
    third = "3" * 64
    write_shard(tmp_path, RUN, OUTCOMES)
    write_shard(tmp_path, RUN, {third: KnownOutcome()})
    assert read(tmp_path).keys() == {BROKEN, ROBUST, third}
    write_shard(tmp_path, RUN, {BROKEN: KnownOutcome(), third: KnownOutcome()})
    assert read(tmp_path).keys() == {ROBUST, third}


def _members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _pack(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, contents in members.items():
            archive.writestr(name, contents)


def _npy(array: np.ndarray, *, pickled: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=pickled)
    return stream.getvalue()


def _edit(path: Path, change: Callable[[dict[str, Any]], None], *, sealed: bool = True) -> None:
    """Change the record, with a seal that fits."""
    members = _members(path)
    text = np.load(io.BytesIO(members["record.npy"])).tobytes()
    record = json.loads(text)
    change(record)
    if sealed:
        record.pop("seal")
        record["seal"] = json_digest(record)
    text = canonical_json(record)
    members["record.npy"] = _npy(np.frombuffer(text, np.uint8))
    _pack(path, members)


def _replace(path: Path, name: str, contents: bytes) -> None:
    _pack(path, {**_members(path), name: contents})


def _flip(path: Path, at: float) -> None:
    contents = bytearray(path.read_bytes())
    contents[int(at * (len(contents) - 1))] ^= 0x55
    path.write_bytes(bytes(contents))


def _with_images(path: Path, images: np.ndarray) -> None:
    _replace(path, "images.npy", _npy(images))
    digest = tensor_digest(torch.from_numpy(images))
    _edit(path, lambda record: record.update(images=digest))


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.kill, (os.getpid(), signal.SIGKILL)


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "empty": lambda p: p.write_bytes(b""),
    "text": lambda p: p.write_text("no archive"),
    "cut in half": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
    "cut at the end": lambda p: p.write_bytes(p.read_bytes()[:-1]),
    "a bit of the record": lambda p: _flip(p, 0.3),
    "a bit of the images": lambda p: _flip(p, 0.85),
    "a link": lambda p: p.symlink_to(p.rename(p.with_name("elsewhere"))),
    "a directory": lambda p: (p.unlink(), p.mkdir()),
    "another member": lambda p: _replace(p, "evil.npy", b""),
    "a pickled record": lambda p: _replace(
        p, "record.npy", _npy(np.array([_Evil()], dtype=object), pickled=True)
    ),
    "a pickle alone": lambda p: p.write_bytes(pickle.dumps({"a": 1})),
    "a huge array": lambda p: _replace(
        p, "images.npy", _npy(np.zeros(1, np.float32)).replace(b"(1,), }", b"(9999999999999,), }")
    ),
    "whole numbers": lambda p: _with_images(p, np.zeros((1, 1, 2, 2), np.int64)),
    "other form": lambda p: _with_images(p, np.zeros((1, 1, 3, 2), np.float32)),
    "other precision": lambda p: _with_images(p, np.zeros((1, 1, 2, 2), np.float64)),
    "other images": lambda p: _replace(p, "images.npy", _npy(np.zeros((1, 1, 2, 2), np.float32))),
    "more images": lambda p: _with_images(p, np.zeros((2, 1, 2, 2), np.float32)),
    "no seal that fits": lambda p: _edit(
        p, lambda r: r["outcomes"][0].update(predicted=2), sealed=False
    ),
    "another run": lambda p: _edit(p, lambda r: r.update(run=OTHER_RUN)),
    "another version": lambda p: _edit(p, lambda r: r.update(schema="fgmf-cache/9")),
    "another key": lambda p: _edit(p, lambda r: r.update(more=1)),
    "a name that is a path": lambda p: _edit(p, lambda r: r["outcomes"][0].update(name="../x")),
    "the same image twice": lambda p: _edit(p, lambda r: r["outcomes"].append(r["outcomes"][1])),
    "broken without an example": lambda p: _edit(p, lambda r: r["outcomes"][1].update(run=0)),
    "an example of none": lambda p: _edit(p, lambda r: r["outcomes"][0].update(run=None)),
    "a run below zero": lambda p: _edit(p, lambda r: r["outcomes"][0].update(run=-1)),
    "a row that is not there": lambda p: _edit(p, lambda r: r["outcomes"][0].update(row=5)),
    "a number as text": lambda p: _edit(p, lambda r: r["outcomes"][0].update(predicted="3")),
    "deep nesting": lambda p: _replace(
        p, "record.npy", _npy(np.frombuffer(b"[" * 100_000, np.uint8))
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_left_aside_and_the_others_are_used(
    tmp_path: Path, read: Reader, damage: Callable[[Path], Any]
) -> None:
    write_shard(tmp_path, RUN, OUTCOMES)
    damage(only_file(tmp_path))
    assert read(tmp_path) == {}
    assert len(read.said) == 1
    other = {"4" * 64: KnownOutcome()}
    write_shard(tmp_path, RUN, other)
    assert read(tmp_path) == other


@pytest.mark.parametrize("seed", range(60))
def test_no_flipped_byte_makes_an_outcome(tmp_path: Path, read: Reader, seed: int) -> None:
    write_shard(tmp_path, RUN, OUTCOMES)
    path = only_file(tmp_path)
    draws = np.random.default_rng(seed)
    contents = bytearray(path.read_bytes())
    contents[int(draws.integers(len(contents)))] ^= int(draws.integers(1, 256))
    path.write_bytes(bytes(contents))
    for name, outcome in read(tmp_path).items():  # a byte that nobody reads may well differ
        assert outcome.run == OUTCOMES[name].run
        assert outcome.radii == OUTCOMES[name].radii


def test_a_run_that_is_a_link_is_not_followed(tmp_path: Path, read: Reader) -> None:
    write_shard(tmp_path / "elsewhere", RUN, OUTCOMES)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / RUN).symlink_to(tmp_path / "elsewhere" / RUN)
    assert read(tmp_path / "cache") == {}
    evict(tmp_path / "cache", limit=0)
    assert only_file(tmp_path / "elsewhere").exists()


def test_the_oldest_go_first_and_nothing_else_does(tmp_path: Path, read: Reader) -> None:
    sizes, names = [], [f"{n}" * 64 for n in (5, 6, 7, 8)]
    for age, name in enumerate(names):
        known = set(tmp_path.rglob("*.npz"))
        write_shard(tmp_path, RUN if age else OTHER_RUN, {name: KnownOutcome()})
        (path,) = {*tmp_path.rglob("*.npz")} - known
        os.utime(path, (1000 + age, 1000 + age))
        sizes.append(path.stat().st_size)
    (tmp_path / "notes.txt").write_text("kept")
    (tmp_path / RUN / "notes.npz").write_text("kept")
    unfinished = tmp_path / RUN / f".{'c' * 32}.npz.0123abcd"
    unfinished.write_bytes(b"x" * 10_000)
    os.utime(unfinished, (999, 999))
    evict(tmp_path, limit=sum(sizes))
    assert not unfinished.exists()
    assert read(tmp_path).keys() == set(names[1:])
    evict(tmp_path, limit=sum(sizes[2:]))
    assert not (tmp_path / OTHER_RUN).exists()
    assert read(tmp_path).keys() == set(names[2:])
    evict(tmp_path, limit=0)
    assert read(tmp_path) == {}
    assert (tmp_path / "notes.txt").exists()
    assert (tmp_path / RUN / "notes.npz").exists()


def test_many_that_write_and_remove_at_once_do_no_harm(tmp_path: Path, read: Reader) -> None:
    def write(number: int) -> None:
        name = f"{number:064x}"
        write_shard(tmp_path, RUN, {name: KnownOutcome()})
        write_shard(tmp_path, RUN, OUTCOMES)  # the same by all
        read_shards(tmp_path, RUN, like=LIKE, on_damage=note)
        evict(tmp_path)

    said: list[str] = []

    def note(path: Path, why: str) -> None:
        said.append(why)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(24)))
    assert said == []
    assert len(read(tmp_path)) == 26
    assert not [path for path in tmp_path.rglob(".*") if path.name != ".gitignore"]


_WRITER = """
import os, signal, sys
from pathlib import Path
import torch
from fgmf import canonical
from fgmf.caching.shards import write_shard
from fgmf.robustness.known import KnownOutcome

def killed(descriptor):
    os.kill(os.getpid(), signal.SIGKILL)

directory, kill = Path(sys.argv[1]), sys.argv[2] == "kill"
write_shard(directory, "a" * 64, {"2" * 64: KnownOutcome()})
if kill:
    os.fsync = killed
image = torch.zeros(1, 2, 2)
write_shard(directory, "a" * 64, {"1" * 64: KnownOutcome(run=0, image=image, predicted=1)})
"""


@pytest.mark.parametrize("kill", [True, False])
def test_a_writer_that_is_killed_leaves_the_rest_whole(
    tmp_path: Path, read: Reader, *, kill: bool
) -> None:
    command = [sys.executable, "-c", _WRITER, str(tmp_path), "kill" if kill else "live"]
    ended = subprocess.run(command, check=False, capture_output=True)
    assert ended.returncode == (-signal.SIGKILL if kill else 0), ended.stderr
    found = read(tmp_path)
    assert read.said == []
    assert found.keys() == ({ROBUST} if kill else {ROBUST, BROKEN})
    left = [p for p in (tmp_path / RUN).iterdir() if p.name.startswith(".")]
    assert len(left) == int(kill)
    evict(tmp_path, limit=0)
    assert not (tmp_path / RUN).exists()
