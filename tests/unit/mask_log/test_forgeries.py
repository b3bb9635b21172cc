"""What a writer of the log directory might try, and what a reader might overlook."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from mask_logs import LAYOUT, batch_of, body_of, write_log

from fgmf.gates import MaskLogGate
from fgmf.mask_log import (
    Expectation,
    LogOutcome,
    Manifest,
    VerifySettings,
    verify_log,
)
from fgmf.mask_log.erasing import erase_sample
from fgmf.mask_log.keeping import keep_head
from fgmf.mask_log.manifest import write_manifest
from fgmf.mask_log.places import ERASURES, LogDirectory
from fgmf.mask_log.records import decode_record, encode_record
from fgmf.mask_log.writing import StreamWriter
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from fgmf.mask_log.streams import ObservedBatch


def _new(path: Path, expected: Expectation) -> tuple[LogDirectory, Manifest, StreamWriter]:
    directory, manifest = LogDirectory(path=path), Manifest(streams={"a": expected})
    write_manifest(directory, manifest)
    return directory, manifest, StreamWriter(directory, "a", manifest)


def test_a_tombstone_of_no_row_hides_no_altered_array(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log")
    pack = log.directory.pack("train-0", 0)
    start = 2 * LAYOUT.row_bytes
    stone = {
        "leaf": "00" * 32,
        "pack": [[start, 16, 0]],
        "reason": "forged",
        "row": 0,
        "seq": 2,
        "stream": "train-0",
    }
    writer = StreamWriter(log.directory, ERASURES, log.manifest)
    writer.append("erasure", stone)  # type: ignore[arg-type] # JSON
    writer.close()
    head = keep_head(log.directory, log.manifest).digest
    contents = bytearray(pack.read_bytes())
    contents[start] ^= 1
    pack.write_bytes(contents)
    verdict = MaskLogGate(path=str(log.path), head=head).check()
    assert verdict.outcome is Outcome.FAIL
    assert "that of another row" in verdict.reason


def test_an_erased_row_of_an_attack_hides_no_missing_sample(tmp_path: Path) -> None:
    directory, _, writer = _new(tmp_path / "log", Expectation(sample_count=3))
    writer.append_batch(batch_of(range(2)), body_of(0))
    writer.append_batch(batch_of(range(90, 91)), body_of(0, purpose="attack"))
    writer.close()
    head = erase_sample(directory.path, 90, reason="on request").head.digest
    verdict = MaskLogGate(path=str(directory.path), head=head, max_erased=1).check()
    assert verdict.outcome is Outcome.FAIL
    assert "1 of 3 expected entries of samples are missing: 2" in verdict.reason


def test_an_array_that_is_named_again_in_another_form_is_read_again(tmp_path: Path) -> None:
    flat = replace(LAYOUT.arrays[0], shape=(4,), name="saliency_mask")
    other = replace(LAYOUT, arrays=(flat,))
    directory, _, writer = _new(tmp_path / "log", Expectation(steps=2))
    first = batch_of(range(1))
    writer.append_batch(first, body_of(0))
    known = writer._packer._known
    digest, place = next(iter(known.items()))
    values = first.arrays["grid"]
    second = batch_of(range(1, 2), layout=other)
    from fgmf.mask_log import packs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packs, "digests_of", lambda form, data, count: [digest] * count)
        writer.append_batch(replace(second, arrays={"saliency_mask": values}), body_of(1))
    assert known[digest] == place
    writer.close()
    report = verify_log(directory.path)
    assert report.outcome is LogOutcome.TAMPERED
    assert "not what its digest says" in str(report.troubles[0])


@pytest.mark.parametrize("arrays", [(), (replace(LAYOUT.arrays[0], name="heat"),)])
def test_rows_without_a_mask_are_no_mask_log(tmp_path: Path, arrays: tuple) -> None:
    directory, _, writer = _new(tmp_path / "log", Expectation(steps=1))
    batch = batch_of(range(2), layout=replace(LAYOUT, arrays=arrays))
    writer.append_batch(batch, body_of(0))
    writer.close()
    verdict = MaskLogGate(path=str(directory.path), unanchored=True).check()
    assert verdict.outcome is Outcome.FAIL
    assert "no mask was logged" in verdict.reason


def test_a_torn_stream_is_not_covered_up_by_one_that_is_missing(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", streams=("a", "b"))
    for path in log.directory.heads.iterdir():
        path.unlink()
    for path in sorted(log.directory.stream("b").iterdir()):
        path.unlink()
    log.directory.stream("b").rmdir()
    log.directory.checkpoint("a").unlink()
    records = log.directory.records("a", 0)
    records.write_bytes(records.read_bytes()[:-100])
    verdict = MaskLogGate(path=str(log.path), unanchored=True, complete=False).check()
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "torn" in verdict.reason


def test_an_erasure_does_not_make_an_old_log_fresh(tmp_path: Path) -> None:
    directory, _, writer = _new(tmp_path / "log", Expectation(steps=1))
    writer.append_batch(batch_of(range(2)), body_of(0))
    writer.close()
    report = verify_log(directory.path)
    gate = MaskLogGate(path="log", unanchored=True, max_age_hours=1, max_erased=1)
    from fgmf.gates.mask_log_check import judge_report
    from fgmf.gates.mask_log_looks import looks_of

    looks = looks_of(gate, directory.path, seed=0)
    now = (report.streams[0].last_at or 0) + 2 * 3_600_000
    tombstones = replace(report.streams[0], stream=ERASURES, last_at=now)
    report = replace(report, streams=(tombstones, *report.streams))
    outcome, reason = judge_report(gate, report, looks, now=now)
    assert outcome is Outcome.FAIL
    assert "2 hours old" in reason


def test_a_fresh_stream_makes_no_other_fresh(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", streams=("a", "b"))
    gate = MaskLogGate(path="log", unanchored=True, max_age_hours=1, complete=False)
    from fgmf.gates.mask_log_check import judge_report
    from fgmf.gates.mask_log_looks import looks_of

    looks, report = looks_of(gate, log.path, seed=0), verify_log(log.path)
    last = report.streams[0].last_at or 0
    assert judge_report(gate, report, looks, now=last)[0] is Outcome.PASS
    old = replace(report.streams[1], last_at=last - 2 * 3_600_000)
    outcome, reason = judge_report(
        gate, replace(report, streams=(report.streams[0], old)), looks, now=last
    )
    assert outcome is Outcome.FAIL
    assert "the last record of stream b is 2 hours old, 1 are allowed" in reason
    for path in (*log.directory.heads.iterdir(), *log.directory.stream("b").iterdir()):
        path.unlink()
    log.directory.stream("b").rmdir()
    report = verify_log(log.path)
    outcome, reason = judge_report(gate, report, looks, now=last)
    assert (outcome, report.missing_streams) == (Outcome.FAIL, ("b",))
    assert "stream b has no record" in reason


def test_what_was_lost_is_not_covered(tmp_path: Path) -> None:
    directory, _, writer = _new(tmp_path / "log", Expectation(steps=1))
    writer.append_batch(batch_of(range(2)), body_of(0))
    lost = {"batches": 3, "first_step": 1, "last_step": 3, "reason": "full", "samples": 6}
    writer.append("lost", lost)  # type: ignore[arg-type] # JSON
    writer.close()
    gate = {"path": str(directory.path), "unanchored": True, "complete": False}
    verdict = MaskLogGate(**gate, min_coverage=0.5).check()
    assert verdict.outcome is Outcome.FAIL
    assert "coverage 0.25" in verdict.reason


def test_an_earlier_head_is_not_said_to_agree_with_all(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log")
    erase_sample(log.path, 0, reason="on request")
    gate = MaskLogGate(path=str(log.path), head=log.head, max_erased=1, unanchored=True)
    reason = gate.check().reason
    assert "UNANCHORED: the earlier head covers 7 of 10 records" in reason


def test_a_log_that_grows_while_it_is_read_is_not_tampered_with(tmp_path: Path) -> None:
    directory, _, writer = _new(tmp_path / "log", Expectation(steps=30))
    for step in range(5):
        writer.append_batch(batch_of(range(2 * step, 2 * step + 2)), body_of(step))

    class Appends:
        steps = 5

        def take(self, batch: ObservedBatch) -> None:
            del batch
            if self.steps < 10:
                ids = range(2 * self.steps, 2 * self.steps + 2)
                writer.append_batch(batch_of(ids), body_of(self.steps))
                self.steps += 1

        def take_weights(self, *given: object) -> None:
            """None come."""

    report = verify_log(directory.path, VerifySettings(observers=[Appends()]))
    writer.close()
    assert report.outcome is LogOutcome.INCOMPLETE
    assert report.samples == 20


def test_the_last_record_must_follow_on_the_one_before_it(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log")
    segment = log.directory.records("train-0", 0)
    *lines, last = segment.read_bytes().splitlines(keepends=True)
    record = decode_record(last)
    line, _ = encode_record(
        kind=record.kind, seq=record.seq, at=record.at, prev=bytes(32), body=record.body
    )
    segment.write_bytes(b"".join([*lines, line]))
    report = verify_log(log.path)
    assert report.outcome is LogOutcome.TAMPERED
    assert "does not follow on the record before it" in str(report)
