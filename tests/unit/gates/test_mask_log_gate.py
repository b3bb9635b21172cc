from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from mask_logs import write_log, write_stream

from fgmf.errors import InvalidGateFile
from fgmf.gates import MaskLogGate, RunContext
from fgmf.mask_log import Expectation, Manifest
from fgmf.mask_log.manifest import write_manifest
from fgmf.mask_log.places import LogDirectory
from fgmf.reporting import junit_properties, render_details, render_headline
from fgmf.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from pathlib import Path


def _check(path: Path, **fields: object) -> Verdict:
    return MaskLogGate(path=path.name, **fields).check(context=RunContext(directory=path.parent))


def test_a_complete_log_passes_only_with_something_from_outside(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log")
    alone = _check(log.path)
    assert alone.outcome is Outcome.INCONCLUSIVE
    assert "nothing from outside" in alone.reason
    assert _check(log.path, head=log.head).outcome is Outcome.PASS
    allowed = _check(log.path, unanchored=True)
    assert allowed.outcome is Outcome.PASS
    assert "UNANCHORED" in render_headline(allowed)


def test_the_head_is_in_evidence_and_junit(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log")
    verdict = _check(log.path)
    assert verdict.evidence["head"] == log.head
    assert ("fgmf.head", log.head) in junit_properties(verdict)
    assert Verdict.from_document(verdict.as_document()) == verdict
    assert f"head: {log.head}" in render_details(verdict)


def test_a_head_in_a_file_outside_counts_and_one_inside_does_not(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log")
    (tmp_path / "digest.txt").write_text(log.head + "\n")
    inside = next(log.directory.heads.iterdir())
    (tmp_path / "head.txt").write_bytes(inside.read_bytes())
    assert _check(log.path, head="digest.txt").outcome is Outcome.PASS
    assert _check(log.path, head="head.txt").outcome is Outcome.PASS
    (tmp_path / "link.txt").symlink_to(inside)
    for name in (f"log/heads/{inside.name}", "link.txt"):
        verdict = _check(log.path, head=name)
        assert verdict.outcome is Outcome.ERROR
        assert "outside" in verdict.reason
    assert _check(log.path, head="gone.txt").outcome is Outcome.ERROR


def test_a_tampered_log_fails_and_shows_no_head(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log")
    path = log.directory.records("train-0", 0)
    path.write_bytes(path.read_bytes().replace(b'"step":2', b'"step":3', 1))
    verdict = _check(log.path, head=log.head)
    assert verdict.outcome is Outcome.FAIL
    assert "tampered: stream train-0, 000000.jsonl line 5" in verdict.reason
    assert verdict.evidence["head"] is None
    assert "what is wrong:" in render_details(verdict)


def test_an_incomplete_log_fails_unless_integrity_is_all_that_is_asked(tmp_path: Path) -> None:
    directory = LogDirectory(path=tmp_path / "log")
    manifest = Manifest(streams={"a": Expectation(steps=5)})
    write_manifest(directory, manifest)
    write_stream(directory, "a", manifest, steps=range(3)).close()
    verdict = _check(directory.path, unanchored=True)
    assert verdict.outcome is Outcome.FAIL
    assert "2 of 5 steps are missing: 3-4" in verdict.reason
    asked_less = _check(directory.path, unanchored=True, complete=False)
    assert asked_less.outcome is Outcome.PASS
    assert "completeness not asked for" in asked_less.reason


def test_a_torn_log_is_inconclusive_and_says_what_to_do(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log")
    for path in (log.directory.checkpoint("train-0"), *log.directory.heads.iterdir()):
        path.unlink()
    path = log.directory.records("train-0", 0)
    path.write_bytes(path.read_bytes()[:-100])
    for fields in ({}, {"unanchored": True}, {"unanchored": True, "complete": False}):
        verdict = _check(log.path, **fields)
        assert verdict.outcome is Outcome.INCONCLUSIVE
        assert "fgmf log repair" in verdict.reason
    assert _check(log.path, head=log.head).outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("manifest", "said"), [(Manifest(every=3), "sampled"), (Manifest(), "fixes nothing")]
)
def test_what_cannot_be_complete_is_inconclusive(
    tmp_path: Path, manifest: Manifest, said: str
) -> None:
    directory = LogDirectory(path=tmp_path / "log")
    write_manifest(directory, manifest)
    write_stream(directory, "a", manifest, steps=range(1)).close()
    verdict = _check(directory.path, unanchored=True)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert said in verdict.reason


def test_an_old_log_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = write_log(tmp_path / "log")
    assert _check(log.path, head=log.head, max_age_hours=1).outcome is Outcome.PASS
    import time

    now = time.time_ns()
    for hours, said in ((2, "2 hours old"), (-1, "in the future")):
        monkeypatch.setattr(time, "time_ns", lambda h=hours: now + h * 3600 * 10**9)
        verdict = _check(log.path, head=log.head, max_age_hours=1)
        assert verdict.outcome is Outcome.FAIL
        assert said in verdict.reason


@pytest.mark.parametrize("place", ["gone", "empty"])
def test_no_log_is_an_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    assert _check(tmp_path / place).outcome is Outcome.ERROR


def test_an_inconclusive_log_can_be_let_through_visibly(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log")
    verdict = _check(log.path, inconclusive="pass")
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.accepted


@pytest.mark.parametrize("head", ["sha256:1234", "sha256:" + "g" * 64, ""])
def test_half_a_digest_is_refused(head: str) -> None:
    with pytest.raises(InvalidGateFile, match="head"):
        MaskLogGate(path="log", head=head)


def test_verifying_imports_no_torch(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log")
    code = f"""
import sys
from fgmf.gates import MaskLogGate
assert MaskLogGate(path={str(log.path)!r}, head={log.head!r}).check().passed
assert not {{"torch", "numpy", "typer"}} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_masks_of_samples_are_shown_evenly(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log")
    (picture,) = _check(log.path, pictures=2).evidence["pictures"]
    rows = picture["rows"]
    assert 1 <= len(rows) <= 2
    assert all(row["caption"].startswith("stream train-0, record ") for row in rows)
    assert "pictures" not in _check(tmp_path / "gone").evidence
    assert _check(log.path, pictures=0).evidence["pictures"] == []


def test_kept_masks_lie_evenly_and_can_be_taken_up() -> None:
    from fgmf.gates.mask_log_pictures import SampleMasks

    samples = SampleMasks(count=3)
    for number in range(21):
        if number % samples.stride == 0:
            samples.kept.append((number, f"batch {number}", "tile"))
            if len(samples.kept) > samples.count:
                samples.stride *= 2
                samples.kept = [e for e in samples.kept if e[0] % samples.stride == 0]
        samples.seen += 1
    assert [number for number, _, _ in samples.kept] == [0, 8, 16]
    other = SampleMasks(count=3)
    other.restore(samples.as_document())  # type: ignore[arg-type]
    assert other == samples
