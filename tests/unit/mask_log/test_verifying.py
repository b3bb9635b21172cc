"""Whole logs: what is intact is found intact, and what is not is found, and where."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from mask_logs import batch_of, body_of, write_log, write_stream

from fgmf.errors import BrokenRecord, InvalidInput, MaskLogUnreadable
from fgmf.mask_log import (
    Expectation,
    LogOutcome,
    Manifest,
    VerifySettings,
    WriterSettings,
    verify_log,
)
from fgmf.mask_log.keeping import keep_head
from fgmf.mask_log.manifest import write_manifest
from fgmf.mask_log.places import LogDirectory
from fgmf.mask_log.writing import StreamWriter

if TYPE_CHECKING:
    from pathlib import Path


def test_a_whole_log_is_complete(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", streams=("a", "b"), steps=3, size=4)
    report = verify_log(log.path, VerifySettings(head=log.head))
    assert report.outcome is LogOutcome.COMPLETE
    assert report.troubles == ()
    assert (report.anchor, report.anchored_records) == ("head", report.records)
    assert report.head.digest == log.head
    assert [(s.stream, s.batches, s.samples, s.ended) for s in report.streams] == [
        ("a", 3, 12, True),
        ("b", 3, 12, True),
    ]


def test_the_text_of_a_head_is_as_good_as_its_digest(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log")
    text = next(log.directory.heads.iterdir()).read_text()
    shutil.rmtree(log.directory.heads)
    assert verify_log(log.path, VerifySettings(head=text)).anchor == "head"
    changed = text.replace(" 7 ", " 6 ")
    assert changed != text
    with pytest.raises(InvalidInput, match="expected a head"):
        verify_log(log.path, VerifySettings(head=changed))


def test_many_segments_are_one_stream(tmp_path: Path) -> None:
    settings = WriterSettings(segment_bytes=1500, checkpoint_records=2)
    log = write_log(tmp_path / "log", steps=20, settings=settings)
    assert len(log.directory.segments("train-0")) > 3
    assert verify_log(log.path, VerifySettings(head=log.head)).outcome is LogOutcome.COMPLETE


def test_equal_arrays_are_stored_once(tmp_path: Path) -> None:
    directory, manifest = LogDirectory(path=tmp_path), Manifest(streams={"a": Expectation(steps=4)})
    write_manifest(directory, manifest)
    writer = StreamWriter(directory, "a", manifest)
    for step in range(4):
        writer.append_batch(batch_of(range(3)), body_of(step))
    writer.close()
    row_bytes = batch_of(range(3)).layout.row_bytes
    assert directory.pack("a", 0).stat().st_size == 4 * 3 * row_bytes + 3 * 16
    assert verify_log(directory.path).outcome is LogOutcome.COMPLETE


def test_a_log_without_expectations_is_intact_and_never_complete(tmp_path: Path) -> None:
    directory, manifest = LogDirectory(path=tmp_path), Manifest()
    write_manifest(directory, manifest)
    write_stream(directory, "a", manifest, steps=range(2)).close()
    report = verify_log(directory.path)
    assert report.outcome is LogOutcome.INTACT
    assert report.open_ended == ("a",)


def test_a_sampled_log_is_never_complete(tmp_path: Path) -> None:
    manifest = Manifest(every=2, streams={"a": Expectation(steps=2)})
    directory = LogDirectory(path=tmp_path)
    write_manifest(directory, manifest)
    write_stream(directory, "a", manifest, steps=range(2)).close()
    assert verify_log(directory.path).outcome is LogOutcome.SAMPLED


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        (Expectation(steps=6), "2 of 6 steps are missing: 4-5"),
        (Expectation(sample_count=10), "2 of 10 expected entries of samples are missing: 8, 9"),
        (Expectation(sample_ids=(1, "x")), "1 of 2 expected entries of samples are missing: 'x'"),
        (Expectation(sample_count=8, times=2), "8 of 16 expected entries of samples are missing"),
        (Expectation(sample_count=7), "samples were logged that the manifest does not name"),
        (Expectation(steps=4, weights=("0" * 64,)), "weights that the manifest does not allow"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, expected: Expectation, said: str) -> None:
    manifest, directory = Manifest(streams={"a": expected}), LogDirectory(path=tmp_path)
    write_manifest(directory, manifest)
    write_stream(directory, "a", manifest, steps=range(4)).close()
    report = verify_log(directory.path)
    assert report.outcome is LogOutcome.INCOMPLETE
    assert any(said in str(trouble) for trouble in report.troubles)


def test_a_stream_that_is_not_there_is_missing(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", streams=("a", "b"))
    shutil.rmtree(log.directory.stream("b"))
    shutil.rmtree(log.directory.heads)
    report = verify_log(log.path)
    assert report.outcome is LogOutcome.INCOMPLETE
    assert [str(trouble) for trouble in report.troubles] == ["stream b: the stream is not there"]
    assert verify_log(log.path, VerifySettings(head=log.head)).outcome is LogOutcome.TAMPERED


@pytest.mark.parametrize("status", [None, "stopped by ValueError"])
def test_a_stream_without_a_good_end_is_incomplete(tmp_path: Path, status: str | None) -> None:
    manifest, directory = Manifest(streams={"a": Expectation(steps=2)}), LogDirectory(path=tmp_path)
    write_manifest(directory, manifest)
    writer = write_stream(directory, "a", manifest, steps=range(2))
    if status is None:
        writer.abandon()
    else:
        writer.close(status)
    report = verify_log(directory.path)
    assert report.outcome is LogOutcome.INCOMPLETE
    assert status is None or status in str(report.troubles[0])


def test_an_earlier_head_covers_a_part(tmp_path: Path) -> None:
    manifest, directory = Manifest(streams={"a": Expectation(steps=4)}), LogDirectory(path=tmp_path)
    write_manifest(directory, manifest)
    writer = write_stream(directory, "a", manifest, steps=range(2))
    writer.checkpoint()
    writer._sync.wait()
    earlier = keep_head(directory, manifest)
    for step in range(2, 4):
        writer.append_batch(batch_of(range(2 * step, 2 * step + 2)), body_of(step))
    writer.close()
    report = verify_log(directory.path, VerifySettings(head=earlier.digest))
    assert report.outcome is LogOutcome.COMPLETE
    assert report.anchor == "earlier head"
    assert report.anchored_records == earlier.size < report.records


def test_a_stream_goes_on_after_a_stop(tmp_path: Path) -> None:
    manifest, directory = Manifest(streams={"a": Expectation(steps=4)}), LogDirectory(path=tmp_path)
    write_manifest(directory, manifest)
    write_stream(directory, "a", manifest, steps=range(3)).abandon()
    with pytest.raises(InvalidInput, match="resume=True"):
        StreamWriter(directory, "a", manifest)
    writer = StreamWriter(directory, "a", manifest, resume=True)
    for step in range(2, 4):  # from its last checkpoint: step 2 is logged again
        writer.append_batch(batch_of(range(2 * step, 2 * step + 2)), body_of(step))
    writer.close()
    report = verify_log(directory.path)
    assert report.outcome is LogOutcome.COMPLETE
    assert report.streams[0].attempts == 1


def test_a_stream_has_one_writer(tmp_path: Path) -> None:
    manifest, directory = Manifest(), LogDirectory(path=tmp_path)
    write_manifest(directory, manifest)
    writer = write_stream(directory, "a", manifest, steps=range(1))
    with pytest.raises(InvalidInput, match="being written"):
        StreamWriter(directory, "a", manifest, resume=True)
    writer.close()


def test_another_manifest_is_refused(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log")
    with pytest.raises(InvalidInput, match="manifest"):
        write_manifest(log.directory, replace(log.manifest, run="other"))


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc", "a" * 65, ".hidden", "a\n"])
def test_a_stream_name_stays_inside(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="for a stream"):
        StreamWriter(LogDirectory(path=tmp_path), name, Manifest())


def test_no_link_is_followed_out_of_the_log(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log")
    for path in (
        log.directory.manifest,
        log.directory.checkpoint("train-0"),
        log.directory.pack("train-0", 0),
        log.directory.records("train-0", 0),
        log.directory.stream("train-0"),
        log.directory.heads,
    ):
        elsewhere = tmp_path / "elsewhere"
        path.rename(elsewhere)
        path.symlink_to(elsewhere)
        with pytest.raises(MaskLogUnreadable):
            verify_log(log.path)
        path.unlink()
        elsewhere.rename(path)
    assert verify_log(log.path).outcome is LogOutcome.COMPLETE


def test_what_is_no_log_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(MaskLogUnreadable, match=r"manifest\.json"):
        verify_log(tmp_path)
    with pytest.raises(MaskLogUnreadable, match="no directory"):
        verify_log(tmp_path / "gone")


def test_a_broken_stream_is_not_gone_on_with(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log")
    path = log.directory.records("train-0", 0)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BrokenRecord, match="fgmf log repair"):
        StreamWriter(log.directory, "train-0", log.manifest, resume=True)
    path.write_bytes(path.read_bytes().replace(b'"batch"', b'"butch"', 1) + b"\n")
    with pytest.raises(BrokenRecord, match="fgmf log verify"):
        StreamWriter(log.directory, "train-0", log.manifest, resume=True)


def test_progress_is_told(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", steps=3000, size=1)
    told: list[tuple[int, int]] = []
    verify_log(log.path, VerifySettings(on_progress=lambda done, total: told.append((done, total))))
    size = log.directory.records("train-0", 0).stat().st_size
    assert told
    assert all(done <= total == size for done, total in told)
