from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mask_logs import LAYOUT, batch_of, body_of, write_log, write_stream
from typer.testing import CliRunner

from fgmf.cli.application import application
from fgmf.errors import BrokenRecord, InvalidInput
from fgmf.mask_log import Manifest, WriterSettings, rows
from fgmf.mask_log.keeping import keep_head
from fgmf.mask_log.manifest import write_manifest
from fgmf.mask_log.packs import digests_of
from fgmf.mask_log.places import LogDirectory
from fgmf.mask_log.proof_check import (
    ID_WIDTHS,
    WrongProof,
    _extends,
    _root,
    check_consistency,
    check_inclusion,
    check_text,
    sample_of,
)
from fgmf.mask_log.proofs import prove_consistency, prove_inclusion
from fgmf.mask_log.rows import id_width_of
from fgmf.mask_log.tree import consistency_path, inclusion_path, leaf_hash, root_of
from fgmf.mask_log.writing import StreamWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

CHECKER = Path(__file__).parents[3] / "fgmf" / "mask_log" / "proof_check.py"


@given(size=st.integers(1, 70), data=st.data())
def test_the_checker_agrees_with_the_tree(size: int, data: st.DataObject) -> None:
    leaves = [leaf_hash(bytes([n])) for n in range(size)]
    index, earlier = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    path = [h.hex() for h in inclusion_path(leaves, index)]
    assert _root(leaves[index], index, size, path) == root_of(leaves)
    proof = consistency_path(leaves, earlier)
    _extends((earlier, root_of(leaves[:earlier])), (size, root_of(leaves)), proof, "s")
    if 0 < earlier < size:
        with pytest.raises(WrongProof):
            _extends((earlier, leaf_hash(b"other")), (size, root_of(leaves)), proof, "s")
        with pytest.raises(WrongProof):
            _extends((earlier, root_of(leaves[:earlier])), (size, leaf_hash(b"x")), proof, "s")


def _log(path: Path) -> tuple[Path, str, str]:
    """A log, an earlier head of it, and its head."""
    directory, manifest = LogDirectory(path=path), Manifest(run="r")
    write_manifest(directory, manifest)
    settings = WriterSettings(segment_bytes=1500)
    writer = write_stream(directory, "a", manifest, steps=range(5), size=3, settings=settings)
    writer.checkpoint()
    writer._sync.wait()
    earlier = keep_head(directory, manifest)
    for step in range(5, 12):
        writer.append_batch(batch_of(range(3 * step, 3 * step + 3)), body_of(step))
    writer.close()
    write_stream(directory, "b", manifest, steps=range(2)).close()
    return path, earlier.digest, keep_head(directory, manifest).digest


def test_every_sample_can_be_proved(tmp_path: Path) -> None:
    path, earlier, head = _log(tmp_path / "log")
    for sample in range(36):
        proof = json.loads(json.dumps(prove_inclusion(path, head=head, sample=sample, stream="a")))
        shown = check_inclusion(proof, head)
        assert (shown["body"]["step"], shown["row"]) == (sample // 3, sample % 3)
    assert check_inclusion(prove_inclusion(path, head=earlier, sample=2), earlier)["row"] == 2
    for sample, known in ((36, head), (20, earlier), ("x", head)):
        with pytest.raises(InvalidInput, match="below that head"):
            prove_inclusion(path, head=known, sample=sample, stream="a")
    with pytest.raises(InvalidInput, match="heads"):
        prove_inclusion(path, head="sha256:" + "0" * 64, sample=1)


def test_a_changed_proof_shows_nothing(tmp_path: Path) -> None:
    path, earlier, head = _log(tmp_path / "log")
    proof = prove_inclusion(path, head=head, sample=4)
    changes = {
        "row": proof["row"][:-1] + ("0" if proof["row"][-1] != "0" else "1"),
        "position": 0,
        "record": proof["record"].replace('"step":1', '"step":2'),
        "row_path": proof["row_path"][:-1],
        "record_path": [*proof["record_path"], "00" * 32],
        "stream": "b",
        "head": proof["head"].replace(" r\n", " q\n"),
    }
    for key, value in changes.items():
        assert proof[key] != value
        with pytest.raises(WrongProof):
            check_text(json.dumps({**proof, key: value}), [head])
    for heads in ([earlier], [], [head, head]):
        with pytest.raises(WrongProof):
            check_text(json.dumps(proof), heads)
    for text in ("", "[]", "{}", '{"proof": "inclusion"}', "[" * 100_000):
        with pytest.raises(WrongProof):
            check_text(text, [head])


@pytest.mark.parametrize("ids", [range(3), ["ada", "x" * 17, "\u00e4\n" * 300]])
def test_a_proof_says_which_sample_it_is_about(tmp_path: Path, ids: Sequence) -> None:
    directory, manifest = LogDirectory(path=tmp_path / "log"), Manifest(run="r")
    write_manifest(directory, manifest)
    writer = StreamWriter(directory, "a", manifest)
    batch = batch_of(range(3), layout=replace(LAYOUT, id_bytes=id_width_of(ids)))
    writer.append_batch(replace(batch, ids=list(ids)), body_of(0))
    writer.close()
    head = keep_head(directory, manifest).digest
    digests = digests_of(LAYOUT.input, batch.inputs, 3)
    for position, sample in enumerate(ids):
        proof = json.loads(json.dumps(prove_inclusion(directory.path, head=head, sample=sample)))
        shown = check_inclusion(proof, head)
        assert (shown["sample"], shown["row"]) == (sample, position)
        assert shown["input"] == f"sha256:{digests[position].hex()}"
        said = check_text(json.dumps(proof), [head], str(sample))
        assert said.startswith(f"in the log: sample {json.dumps(sample)} with input sha256:")
        assert "\n" not in said
        with pytest.raises(WrongProof, match="another was asked for"):
            check_text(json.dumps(proof), [head], "another")


def test_the_length_of_a_row_says_how_wide_its_id_is() -> None:
    assert [width or 8 for width in rows.ID_WIDTHS] == list(ID_WIDTHS)
    assert len({width % rows.REFERENCE_BYTES for width in ID_WIDTHS}) == len(ID_WIDTHS)
    for length in (0, 55, 57, 100, 102):
        with pytest.raises(WrongProof):
            sample_of(bytes(length))


def test_a_later_log_goes_on_from_an_earlier_one(tmp_path: Path) -> None:
    path, earlier, head = _log(tmp_path / "log")
    proof = json.loads(json.dumps(prove_consistency(path, old=earlier, new=head)))
    assert check_consistency(proof, earlier, head) == ["a"]
    broken = {**proof, "paths": {"a": proof["paths"]["a"][:-1]}}
    with pytest.raises(WrongProof):
        check_consistency(broken, earlier, head)
    with pytest.raises(WrongProof):
        check_consistency({**proof, "old_head": proof["new_head"]}, earlier, head)
    with pytest.raises(InvalidInput, match="later head second"):
        prove_consistency(path, old=head, new=earlier)
    other = write_log(tmp_path / "other", streams=("a",))
    swapped = {**proof, "new_head": next(other.directory.heads.iterdir()).read_text()}
    with pytest.raises(WrongProof):
        check_consistency(swapped, earlier, other.head)


def test_a_broken_log_proves_nothing(tmp_path: Path) -> None:
    path, _, head = _log(tmp_path / "log")
    for records in (path / "streams" / "a").glob("*.jsonl"):
        records.write_bytes(records.read_bytes().replace(b'"step":1,', b'"step":2,'))
    with pytest.raises(BrokenRecord):
        prove_inclusion(path, head=head, sample=1)


def test_the_checker_needs_nothing_but_python(tmp_path: Path) -> None:
    path, earlier, head = _log(tmp_path / "log")
    runner, proof = CliRunner(), tmp_path / "proof.json"
    command = ["log", "prove", str(path), "--head", head, "--output", str(proof)]
    proved = runner.invoke(application, [*command, "--sample", "7"])
    assert (proved.exit_code, "in the log: sample 7 with input" in proved.output) == (0, True)
    checker = [sys.executable, "-I", "-S", str(CHECKER), str(proof)]
    options = {"capture_output": True, "text": True, "cwd": tmp_path}
    done = subprocess.run([*checker, head], check=False, **options)
    assert (done.returncode, done.stdout[:20]) == (0, "in the log: sample 7")
    done = subprocess.run([*checker, head, "--sample", "7"], check=False, **options)
    assert done.returncode == 0
    other = subprocess.run([*checker, head, "--sample", "8"], check=False, **options)
    assert (other.returncode, "and 8 was asked for" in other.stderr) == (1, True)
    asked = ["log", "check-proof", str(proof), head, "--sample"]
    assert runner.invoke(application, [*asked, "7"]).exit_code == 0
    assert runner.invoke(application, [*asked, "8"]).exit_code == 1
    failed = subprocess.run([*checker, earlier], check=False, **options)
    assert failed.returncode == 1
    assert "NOT shown" in failed.stderr
    assert runner.invoke(application, ["log", "check-proof", str(proof), head]).exit_code == 0
    assert runner.invoke(application, ["log", "check-proof", str(proof), earlier]).exit_code == 1
    assert runner.invoke(application, command).exit_code == 2
    assert runner.invoke(application, [*command, "--since", earlier]).exit_code == 0
    check = ["log", "check-proof", str(proof)]
    assert runner.invoke(application, [*check, earlier, head]).exit_code == 0
    assert runner.invoke(application, [*check, earlier, head, "--sample", "7"]).exit_code == 1
