"""Nothing that a log claims makes its reader take more memory, or wait."""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from mask_logs import LAYOUT, batch_of, body_of, write_log
from typer.testing import CliRunner

from fgmf.cli.application import application
from fgmf.errors import InvalidInput, MaskLogUnreadable
from fgmf.gates import MaskLogGate
from fgmf.mask_log import Expectation, LogOutcome, Manifest, verify_log
from fgmf.mask_log import manifest as manifests
from fgmf.mask_log.manifest import MOST_SAMPLES, write_manifest
from fgmf.mask_log.masks import saliency_mask_of_row
from fgmf.mask_log.packs import Packer
from fgmf.mask_log.places import LogDirectory, read_outside
from fgmf.mask_log.records import LONGEST_LINE
from fgmf.mask_log.rows import MOST_BYTES, MOST_ROW_BYTES, ArrayForm, Layout
from fgmf.mask_log.writing import StreamWriter
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from pathlib import Path


def test_an_array_larger_than_memory_is_no_array() -> None:
    most = MOST_BYTES // 8
    assert ArrayForm(name="grid", dtype="float64", shape=(most,)).byte_count == MOST_BYTES
    with pytest.raises(InvalidInput, match="bytes in an array of one sample"):
        ArrayForm(name="grid", dtype="float64", shape=(most + 1,))


def test_a_layout_that_claims_such_an_array_is_no_layout(tmp_path: Path) -> None:
    directory, writer = _stream(tmp_path)
    huge = LAYOUT.as_document()
    huge["arrays"][0]["shape"] = [2**28]  # a gigabyte of zeros takes a megabyte, deflated
    writer._state._takes["layout"] = lambda body: None  # what another program could write
    writer.append("layout", {"id": 0, "layout": huge})
    writer.close()
    report = verify_log(directory.path)
    assert report.outcome is LogOutcome.TAMPERED
    assert "bytes in an array of one sample" in str(report.troubles[0])


def test_a_deflated_array_is_unpacked_no_further_than_its_form(tmp_path: Path) -> None:
    directory, writer = _stream(tmp_path)
    bomb = zlib.compress(bytes(2**24), 9)
    layout = replace(LAYOUT, arrays=(ArrayForm(name="grid", dtype="float32", shape=(8192,)),))
    batch = batch_of(range(1), layout=layout)
    writer._packer._coded = lambda values: (bomb, 1)  # type: ignore[method-assign] # a liar
    writer.append_batch(batch, body_of(0))
    writer.close()
    trouble = str(verify_log(directory.path).troubles[0])
    assert "a deflated array has another length than its form" in trouble


def test_an_array_longer_than_its_form_is_not_read(tmp_path: Path) -> None:
    directory, writer = _stream(tmp_path)
    layout = replace(LAYOUT, arrays=(ArrayForm(name="grid", dtype="float32", shape=(8192,)),))
    writer._packer._coded = lambda values: (bytes(10**6), 1)  # type: ignore[method-assign] # a liar
    writer.append_batch(batch_of(range(1), layout=layout), body_of(0))
    writer.close()
    assert "array grid has another length" in str(verify_log(directory.path).troubles[0])


def test_rows_without_end_are_not_read(tmp_path: Path) -> None:
    directory, writer = _stream(tmp_path)
    writer.append("layout", {"id": 0, "layout": LAYOUT.as_document()})
    count = MOST_ROW_BYTES // LAYOUT.row_bytes + 1
    end = count * LAYOUT.row_bytes
    os.truncate(directory.pack("a", 0), end)  # holes take no room
    writer._pack.size = end
    spans = {"count": count, "layout": 0, "pack": [0, end, end], "root": "0" * 64}
    writer._append("batch", {**body_of(0), **spans})
    writer.close()
    assert "bytes of rows in a batch" in str(verify_log(directory.path).troubles[0])


def test_a_batch_of_more_rows_is_not_written() -> None:
    ids = range(MOST_ROW_BYTES // LAYOUT.row_bytes + 1)
    layout = replace(LAYOUT, input=ArrayForm(name="input", dtype="bool", shape=(1,)))
    layout = replace(layout, arrays=(ArrayForm(name="grid", dtype="bool", shape=(1,)),))
    batch = batch_of(ids, layout=layout)
    with pytest.raises(InvalidInput, match="samples in a batch"):
        Packer().pack(batch, 0)


def test_an_enormous_line_is_no_record(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log")
    records = log.directory.records("train-0", 0)
    with records.open("r+b") as stream:
        stream.truncate(2**33)  # a hole of zeros takes no room
    report = verify_log(log.path)
    assert report.outcome is LogOutcome.TAMPERED
    assert f"more than {LONGEST_LINE} bytes" in str(report.troubles)


def test_a_manifest_that_asks_for_more_counts_than_there_are_is_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="use several streams"):
        Expectation(sample_count=MOST_SAMPLES + 1)
    log = write_log(tmp_path / "log")
    document = json.loads(log.directory.manifest.read_bytes())
    document["streams"]["train-0"]["sample_count"] = 2**50
    log.directory.manifest.write_text(json.dumps(document))
    report = verify_log(log.path)
    assert report.outcome is LogOutcome.TAMPERED
    assert "use several streams" in str(report.troubles[0])


def test_a_manifest_too_long_to_be_read_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests, "LONGEST_MANIFEST", 200)
    with pytest.raises(InvalidInput, match="manifest of at most 200 bytes"):
        write_manifest(LogDirectory(path=tmp_path), Manifest(facts={"x": "y" * 200}))


@pytest.mark.parametrize("size", [[2**20, 2**20], [2**60, 1], [0, 4], [4], "44", [4.0, 4]])
def test_a_mask_larger_than_memory_is_not_made(size: object) -> None:
    layout = replace(LAYOUT, layer={**LAYOUT.layer, "size": size})
    with pytest.raises(InvalidInput):
        saliency_mask_of_row(layout, {"grid": np.ones(4, np.float32).tobytes()})


@pytest.mark.parametrize("width", [1, 8, 15, 17, 24, 1000, 2048])
def test_ids_of_a_width_that_nobody_writes_are_no_ids(width: int) -> None:
    from fgmf.errors import BrokenRecord

    with pytest.raises(BrokenRecord):
        Layout.from_document({**LAYOUT.as_document(), "id_bytes": width})


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    log, pipe = write_log(tmp_path / "log"), tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    verdict = MaskLogGate(path=str(log.path), head=str(pipe)).check()
    assert verdict.outcome is Outcome.ERROR
    assert "expected a regular file" in verdict.reason
    for command in (
        ["check-proof", str(pipe), log.head],
        ["sign", str(log.path), "--key", str(pipe)],
        ["verify", str(log.path), "--against", str(pipe)],
    ):
        done = CliRunner().invoke(application, ["log", *command])
        assert done.exit_code not in {0, 1}
        assert "expected a regular file" in done.output


def test_a_device_is_not_read_for_ever(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log")
    verdict = MaskLogGate(path=str(log.path), head="/dev/zero").check()
    assert verdict.outcome is Outcome.ERROR
    assert "expected a regular file" in verdict.reason
    with pytest.raises(MaskLogUnreadable, match="at most 3 bytes"):
        read_outside(log.directory.manifest, limit=3)


def _stream(path: Path) -> tuple[LogDirectory, StreamWriter]:
    directory, manifest = LogDirectory(path=path / "log"), Manifest(streams={"a": Expectation()})
    write_manifest(directory, manifest)
    return directory, StreamWriter(directory, "a", manifest)
