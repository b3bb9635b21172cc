"""Crashes: at every byte, and by kill -9: no acknowledged record is lost, no torn one is read."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mask_logs import batch_of, body_of, write_log, write_stream

from fgmf.errors import BrokenRecord, InvalidInput, MaskLogUnwritable
from fgmf.mask_log import (
    Expectation,
    LogOutcome,
    Manifest,
    MaskLog,
    WriterSettings,
    verify_log,
)
from fgmf.mask_log.appending import AppendedFile
from fgmf.mask_log.manifest import write_manifest
from fgmf.mask_log.places import LogDirectory
from fgmf.mask_log.repairing import repair_log
from fgmf.mask_log.writing import StreamWriter


def _without_claims(directory: LogDirectory) -> None:
    shutil.rmtree(directory.heads, ignore_errors=True)
    directory.checkpoint("train-0").unlink(missing_ok=True)


def test_every_prefix_of_the_records_is_torn_or_incomplete_and_usable(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", steps=2)
    _without_claims(log.directory)
    path, pack = log.directory.records("train-0", 0), log.directory.pack("train-0", 0)
    whole, arrays = path.read_bytes(), pack.read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == 10]
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        pack.write_bytes(arrays)
        report = verify_log(log.path)
        held = sum(end <= size for end in ends)
        assert report.records == held
        expected = LogOutcome.INCOMPLETE if size == ends[-2] else LogOutcome.TORN
        assert report.outcome is expected, size
        if size % 97 == 0 or size in ends:
            _go_on(log.directory, log.manifest, held)


def _go_on(directory: LogDirectory, manifest: Manifest, held: int) -> None:
    """After a repair the stream is what it was up to its last record, and can be gone on with."""
    repair_log(directory.path)
    report = verify_log(directory.path)
    assert report.outcome is LogOutcome.INCOMPLETE
    assert report.records in {held, held + 1} if held else report.records == 0
    writer = StreamWriter(directory, "train-0", manifest, resume=True)
    for step in range(2):
        writer.append_batch(batch_of(range(2 * step, 2 * step + 2)), body_of(step))
    writer.close()
    assert verify_log(directory.path).outcome is LogOutcome.COMPLETE
    _without_claims(directory)


def test_every_prefix_of_the_arrays_is_found(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", steps=1)
    _without_claims(log.directory)
    pack = log.directory.pack("train-0", 0)
    whole = pack.read_bytes()
    for size in range(len(whole)):
        pack.write_bytes(whole[:size])
        assert verify_log(log.path).outcome is LogOutcome.TAMPERED
        with pytest.raises(BrokenRecord, match="nothing was repaired"):
            repair_log(log.path)


def test_arrays_without_a_record_are_cut_off(tmp_path: Path) -> None:
    manifest, directory = Manifest(), LogDirectory(path=tmp_path / "log")
    write_manifest(directory, manifest)
    write_stream(directory, "train-0", manifest, steps=range(2)).abandon()
    pack = directory.pack("train-0", 0)
    pack.write_bytes(pack.read_bytes() + b"x" * 40)
    assert verify_log(directory.path).outcome is LogOutcome.TORN
    assert [r.pack_bytes for r in repair_log(directory.path)] == [40]
    assert repair_log(directory.path) == []
    assert verify_log(directory.path).outcome is LogOutcome.INCOMPLETE


@pytest.mark.parametrize("segment", [b"", b'{"at":12'])
def test_a_segment_that_had_only_begun_is_removed(tmp_path: Path, segment: bytes) -> None:
    manifest, directory = Manifest(), LogDirectory(path=tmp_path / "log")
    write_manifest(directory, manifest)
    write_stream(directory, "train-0", manifest, steps=range(2)).abandon()
    directory.records("train-0", 1).write_bytes(segment)
    assert verify_log(directory.path).outcome is LogOutcome.TORN
    assert [repair.segment for repair in repair_log(directory.path)] == [True]
    assert directory.segments("train-0") == [0]
    StreamWriter(directory, "train-0", manifest, resume=True).close()
    assert verify_log(directory.path).outcome is LogOutcome.INTACT


def test_zeros_of_a_power_cut_are_torn_and_other_bytes_are_not(tmp_path: Path) -> None:
    manifest, directory = Manifest(), LogDirectory(path=tmp_path / "log")
    write_manifest(directory, manifest)
    write_stream(directory, "train-0", manifest, steps=range(2)).abandon()
    path = directory.records("train-0", 0)
    sound = path.read_bytes()
    path.write_bytes(sound + bytes(100))
    assert verify_log(directory.path).outcome is LogOutcome.TORN
    path.write_bytes(sound + b"garbage")
    assert verify_log(directory.path).outcome is LogOutcome.TAMPERED
    with pytest.raises(BrokenRecord, match="no crash"):
        repair_log(directory.path)
    assert path.read_bytes() == sound + b"garbage"


def test_what_was_acknowledged_is_never_cut(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log")
    path = log.directory.records("train-0", 0)
    path.write_bytes(path.read_bytes()[:-100])
    before = path.read_bytes()
    with pytest.raises(BrokenRecord, match="7 records were acknowledged and 6 hold"):
        repair_log(log.path)
    assert path.read_bytes() == before


def test_a_stream_that_is_being_written_is_not_repaired(tmp_path: Path) -> None:
    manifest, directory = Manifest(), LogDirectory(path=tmp_path / "log")
    write_manifest(directory, manifest)
    writer = write_stream(directory, "train-0", manifest, steps=range(2))
    with pytest.raises(InvalidInput, match="being written"):
        repair_log(directory.path)
    writer.close()


WRITER = """
import itertools, pathlib, sys
from mask_logs import batch_of, body_of
from fgmf.mask_log.manifest import read_manifest
from fgmf.mask_log.places import LogDirectory
from fgmf.mask_log.settings import WriterSettings
from fgmf.mask_log.writing import StreamWriter
directory = LogDirectory(path=pathlib.Path(sys.argv[1]))
settings = WriterSettings(checkpoint_records=20, segment_bytes=20_000)
writer = StreamWriter(directory, sys.argv[2], read_manifest(directory), settings=settings)
for step in itertools.count():
    number = writer.append_batch(batch_of(range(2 * step, 2 * step + 2)), body_of(step))
    print(number, flush=True)
"""


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    draw = random.Random(1)
    manifest, directory = Manifest(), LogDirectory(path=tmp_path / "log")
    write_manifest(directory, manifest)
    tests = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([tests, str(Path.cwd())])}
    command = [sys.executable, "-c", WRITER, str(directory.path)]
    writers = [
        subprocess.Popen([*command, f"w{n}"], stdout=subprocess.PIPE, env=environment)
        for n in range(3)
    ]
    for writer in writers:
        assert writer.stdout.readline()
    time.sleep(0.1 + 0.2 * draw.random())
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
    acknowledged = [int(w.communicate()[0].split()[-1]) for w in writers]
    repair_log(directory.path)
    report = verify_log(directory.path)
    assert report.outcome is LogOutcome.INCOMPLETE
    for stream, last in zip(report.streams, acknowledged, strict=True):
        assert stream.records > last
    for stream in directory.stream_names():
        StreamWriter(directory, stream, manifest, resume=True).close()
    assert verify_log(directory.path).outcome is LogOutcome.INTACT


class _FullDisk:
    """`os.write` of a disk on which so many bytes are left."""

    def __init__(self, left: int) -> None:
        self.left, self.write = left, os.write

    def __call__(self, descriptor: int, data: bytes) -> int:
        if not self.left:
            raise OSError(28, "No space left on device")
        written = self.write(descriptor, data[: self.left])
        self.left -= written
        return written


def _append(writer: StreamWriter, steps: range) -> list[int | None]:
    return [
        writer.append_batch(batch_of(range(2 * step, 2 * step + 2)), body_of(step))
        for step in steps
    ]


@pytest.mark.parametrize("left", [0, 1, 100, 300, 700, 1200])
def test_a_full_disk_is_said_and_breaks_nothing(
    tmp_path: Path, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, directory = Manifest(streams={"a": Expectation(steps=9)}), LogDirectory(path=tmp_path)
    write_manifest(directory, manifest)
    writer = write_stream(directory, "a", manifest, steps=range(2))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", _FullDisk(left))
        with pytest.raises(MaskLogUnwritable, match="No space left"):
            _append(writer, range(2, 9))
    steps = writer._state.counts.batches
    _append(writer, range(steps, 9))
    writer.close()
    report = verify_log(directory.path)
    assert report.outcome is LogOutcome.INCOMPLETE
    assert {str(trouble) for trouble in report.troubles} == {
        "stream a: 1 records could not be written, its writer says"
    }


def test_training_may_go_on_without_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, directory = Manifest(streams={"a": Expectation(steps=5)}), LogDirectory(path=tmp_path)
    write_manifest(directory, manifest)
    settings = WriterSettings(on_error="continue")
    writer = write_stream(directory, "a", manifest, steps=range(2), settings=settings)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", _FullDisk(150))
        assert _append(writer, range(2, 4)) == [None, None]
    assert _append(writer, range(4, 5)) != [None]
    writer.close()
    report = verify_log(directory.path)
    assert report.outcome is LogOutcome.INCOMPLETE
    said = " ".join(map(str, report.troubles))
    assert "2 records could not be written" in said
    assert "2 of 5 steps are missing: 2-3" in said


def _read_only(path: object, flags: int, *rest: object, **named: object) -> int:
    raise OSError(30, "Read-only file system")


@pytest.mark.parametrize("on_error", ["raise", "continue"])
def test_a_directory_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_error: str
) -> None:
    settings = WriterSettings(on_error=on_error)
    log = MaskLog(tmp_path / "log", manifest=Manifest(), settings=settings)
    monkeypatch.setattr(os, "mkdir", _read_only)
    if on_error == "raise":
        with pytest.raises(MaskLogUnwritable, match="Read-only file system; make room or choose"):
            log.__enter__()
    else:
        with pytest.warns(UserWarning, match=r"nothing is logged: .*Read-only"), log:
            log.note({"goes": "on"})


def test_a_failed_append_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = AppendedFile(tmp_path / "file")
    file.append(b"whole")
    monkeypatch.setattr(os, "write", _FullDisk(3))
    with pytest.raises(OSError, match="No space left"):
        file.append(b"record")
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert file.size == 5
    file.close()
