from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mask_logs import batch_of, body_of, write_log, write_stream
from typer.testing import CliRunner

from fgmf.cli.application import application
from fgmf.errors import BrokenRecord, InvalidInput
from fgmf.mask_log import Manifest, WriterSettings
from fgmf.mask_log.keeping import keep_head
from fgmf.mask_log.manifest import write_manifest
from fgmf.mask_log.places import LogDirectory
from fgmf.mask_log.proof_check import (
    WrongProof,
    _extends,
    _root,
    check_consistency,
    check_inclusion,
    check_text,
)
from fgmf.mask_log.proofs import prove_consistency, prove_inclusion
from fgmf.mask_log.tree import consistency_path, inclusion_path, leaf_hash, root_of

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
    assert runner.invoke(application, [*command, "--sample", "7"]).exit_code == 0
    checker = [sys.executable, "-I", "-S", str(CHECKER), str(proof)]
    options = {"capture_output": True, "text": True, "cwd": tmp_path}
    done = subprocess.run([*checker, head], check=False, **options)
    assert (done.returncode, done.stdout[:10]) == (0, "in the log")
    failed = subprocess.run([*checker, earlier], check=False, **options)
    assert failed.returncode == 1
    assert "NOT shown" in failed.stderr
    assert runner.invoke(application, ["log", "check-proof", str(proof), head]).exit_code == 0
    assert runner.invoke(application, ["log", "check-proof", str(proof), earlier]).exit_code == 1
    assert runner.invoke(application, command).exit_code == 2
    assert runner.invoke(application, [*command, "--since", earlier]).exit_code == 0
    check = ["log", "check-proof", str(proof)]
    assert runner.invoke(application, [*check, earlier, head]).exit_code == 0
