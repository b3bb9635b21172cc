from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from mask_logs import batch_of, body_of, write_log
from typer.testing import CliRunner

from fgmf.cli.application import application
from fgmf.errors import BrokenRecord, InvalidInput
from fgmf.gates import MaskLogGate
from fgmf.mask_log import Expectation, LogOutcome, Manifest, VerifySettings, verify_log
from fgmf.mask_log.erasing import erase_sample
from fgmf.mask_log.keeping import keep_head
from fgmf.mask_log.manifest import write_manifest
from fgmf.mask_log.places import LogDirectory
from fgmf.mask_log.proofs import prove_inclusion
from fgmf.mask_log.writing import StreamWriter
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from pathlib import Path


def test_an_erased_sample_leaves_a_tombstone_and_an_intact_chain(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", steps=3, size=3)
    pack = log.directory.pack("train-0", 0)
    before = pack.read_bytes()
    erasure = erase_sample(log.path, 4, reason="on request")
    assert (erasure.rows, erasure.arrays, erasure.shared) == (1, 1, 0)
    report = verify_log(log.path, VerifySettings(head=erasure.head.digest))
    assert (report.outcome, report.erased, report.anchor) == (LogOutcome.COMPLETE, 1, "head")
    width = batch_of(range(1)).layout.row_bytes
    changed = sum(a != b for a, b in zip(before, pack.read_bytes(), strict=True))
    assert width < changed + 20 <= width + 16 + 20  # the row and its grid: salts may hold zeros
    assert verify_log(log.path, VerifySettings(head=log.head)).anchor == "earlier head"
    with pytest.raises(InvalidInput, match="below that head"):
        prove_inclusion(log.path, head=erasure.head.digest, sample=4)
    assert prove_inclusion(log.path, head=erasure.head.digest, sample=3)["position"] == 0


def test_a_gate_allows_as_many_as_it_says(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", steps=3, size=3)
    for sample in (0, 8):
        head = erase_sample(log.path, sample, reason="on request").head.digest
    gate = {"path": str(log.path), "head": head}
    assert MaskLogGate(**gate).check().outcome is Outcome.FAIL
    assert MaskLogGate(**gate, max_erased=1).check().outcome is Outcome.FAIL
    allowed = MaskLogGate(**gate, max_erased=2).check()
    assert allowed.outcome is Outcome.PASS
    assert "complete: " in allowed.reason
    assert "2 erased" in allowed.reason


def test_an_array_that_others_name_stays(tmp_path: Path) -> None:
    directory = LogDirectory(path=tmp_path / "log")
    manifest = Manifest(streams={"a": Expectation(steps=2, sample_count=4)})
    write_manifest(directory, manifest)
    writer = StreamWriter(directory, "a", manifest)
    first = batch_of(range(2))
    writer.append_batch(first, body_of(0))
    same = {"layout": first.layout, "inputs": first.inputs, "arrays": first.arrays}
    writer.append_batch(type(first)(ids=[2, 3], **same), body_of(1))
    writer.close()
    keep_head(directory, manifest)
    erasure = erase_sample(directory.path, 0, reason="on request")
    assert (erasure.arrays, erasure.shared) == (0, 1)
    assert verify_log(directory.path).outcome is LogOutcome.COMPLETE
    erasure = erase_sample(directory.path, 2, reason="on request")
    assert (erasure.arrays, erasure.shared) == (1, 0)
    report = verify_log(directory.path)
    assert (report.outcome, report.erased) == (LogOutcome.COMPLETE, 2)


def test_zeros_without_a_tombstone_are_tampering(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log")
    width = batch_of(range(1)).layout.row_bytes
    pack = log.directory.pack("train-0", 0)
    pack.write_bytes(bytes(width) + pack.read_bytes()[width:])
    assert verify_log(log.path).outcome is LogOutcome.TAMPERED
    with pytest.raises(BrokenRecord, match="nothing was erased"):
        erase_sample(log.path, 1, reason="on request")


def test_another_rows_tombstone_does_not_help(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log")
    erase_sample(log.path, 0, reason="on request")
    width = batch_of(range(1)).layout.row_bytes
    pack = log.directory.pack("train-0", 0)
    contents = bytearray(pack.read_bytes())
    contents[width : 2 * width] = bytes(width)
    pack.write_bytes(contents)
    assert verify_log(log.path).outcome is LogOutcome.TAMPERED


@pytest.mark.parametrize("writes", [0, 1])
def test_an_erasure_that_was_cut_off_is_named_and_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    log = write_log(tmp_path / "log")
    left, pwrite = [writes], os.pwrite

    def cut(descriptor: int, data: bytes, offset: int) -> int:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return pwrite(descriptor, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", cut)
        with pytest.raises(KeyboardInterrupt):
            erase_sample(log.path, 3, reason="on request")
    report = verify_log(log.path)
    assert report.outcome is LogOutcome.INCOMPLETE
    assert "1 row with a tombstone not erased yet" in str(report.troubles[0])
    erase_sample(log.path, 3, reason="on request")
    report = verify_log(log.path)
    assert (report.outcome, report.erased) == (LogOutcome.COMPLETE, 1)


def test_the_command(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log")
    command = ["log", "erase", str(log.path), "--reason", "on request", "--sample"]
    done = CliRunner().invoke(application, [*command, "5"])
    assert done.exit_code == 0
    assert "erased 1 row and 1 array\n" in done.output
    assert CliRunner().invoke(application, [*command, "5"]).exit_code == 5
    assert CliRunner().invoke(application, [*command, "nobody"]).exit_code == 5
