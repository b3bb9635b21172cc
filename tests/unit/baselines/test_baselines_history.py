"""The history: appended only, sealed line by line, and drawn without lines over what differs."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from fgmf.baselines.history import append_history, commit_of, history_document, load_history
from fgmf.errors import StaleEvidence
from fgmf.reporting.histories import histories_of
from fgmf.verdict import Interval, Outcome, Verdict

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FGMF_COMMIT", "GITHUB_SHA", "CI_COMMIT_SHA"):
        monkeypatch.delenv(name, raising=False)


def verdict(measured: float | None = 0.7, *, gate: str = "robust", epsilon: float = 0.1) -> Verdict:
    return Verdict(
        gate=gate,
        kind="robustness",
        outcome=Outcome.ERROR if measured is None else Outcome.PASS,
        reason="",
        measured=measured,
        interval=None
        if measured is None
        else Interval(lower=measured - 0.1, upper=measured + 0.1, confidence=0.95, method="exact"),
        threshold=0.5,
        image_count=100,
        evidence={"configuration": {"epsilon": epsilon}, "model_digest": "sha256:1"},
    )


def append(path: Path, *verdicts: Verdict) -> None:
    append_history(path, verdicts, directory=path.parent, now=NOW)


def test_what_was_written_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "history.jsonl"
    append(path, verdict(0.7))
    before = path.read_bytes()
    append(path, verdict(0.6), verdict(None, gate="other"))
    assert path.read_bytes().startswith(before)
    entries = load_history(path)
    assert [(e.gate, e.measured, e.outcome) for e in entries] == [
        ("robust", 0.7, "pass"),
        ("robust", 0.6, "pass"),
        ("other", None, "error"),
    ]
    assert entries[0].written == "2026-01-02T03:04:05Z"
    assert (entries[0].commit, entries[0].changed) == ("", None)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: text.replace("0.7", "0.9"), "line 1: changed since it was written"),
        (lambda text: text[:-1], "line 1: cut off"),
        (lambda text: text[:40], "line 1: cut off"),
        (lambda text: text + "\n", "line 2: expected one JSON object"),
        (lambda text: text + "<<<<<<< HEAD\n", "line 2: expected one JSON object"),
        (lambda text: text.replace("fgmf-history/1", "fgmf-history/9"), "fgmf-history/1"),
        (lambda text: "[" * 100_000 + "\n", "line 1: expected one JSON object"),
    ],
)
def test_a_damaged_line_stops_everything(tmp_path: Path, spoil: object, words: str) -> None:
    path = tmp_path / "history.jsonl"
    append(path, verdict(0.7))
    path.write_text(spoil(path.read_text()))  # type: ignore[operator]
    spoiled = path.read_bytes()
    with pytest.raises(StaleEvidence, match=words):
        append(path, verdict(0.6))
    assert path.read_bytes() == spoiled


def test_a_sealed_line_with_a_wrong_field_is_refused(tmp_path: Path) -> None:
    from fgmf.canonical import json_digest

    path = tmp_path / "history.jsonl"
    append(path, verdict(0.7))
    document = json.loads(path.read_text())
    del document["digest"]
    document["commit"] = "<script>"
    path.write_text(json.dumps({**document, "digest": json_digest(document)}) + "\n")
    with pytest.raises(StaleEvidence, match="commit"):
        load_history(path)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious.txt"
    target.write_text("")
    (tmp_path / "history.jsonl").symlink_to(target)
    with pytest.raises(StaleEvidence, match="a link"):
        append(tmp_path / "history.jsonl", verdict())
    assert target.read_text() == ""


def test_the_commit_is_that_of_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert commit_of(tmp_path) == ""

    def git(*arguments: str, at: Path = tmp_path) -> str:
        options = ("-c", "user.name=x", "-c", "user.email=x@y", "-c", "commit.gpgsign=false")
        command = ["git", *options, *arguments]
        return subprocess.run(
            command, cwd=at, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q")
    assert commit_of(tmp_path) == ""
    (tmp_path / "a.txt").write_text("1")
    git("add", "a.txt")
    git("commit", "-qm", "first")
    head = git("rev-parse", "HEAD")
    assert commit_of(tmp_path / "deep" / "down") == head
    append(tmp_path / "h.jsonl", verdict())
    (tmp_path / "a.txt").write_text("2")
    append(tmp_path / "h.jsonl", verdict())
    assert [entry.changed for entry in load_history(tmp_path / "h.jsonl")] == [False, True]
    git("pack-refs", "--all")
    assert commit_of(tmp_path) == head
    git("worktree", "add", "-q", str(tmp_path / "tree"), "-b", "other")
    assert commit_of(tmp_path / "tree") == head
    git("checkout", "-q", "--detach")
    assert commit_of(tmp_path) == head
    monkeypatch.setenv("GITHUB_SHA", COMMIT)
    assert commit_of(tmp_path) == COMMIT
    monkeypatch.setenv("GITHUB_SHA", "$(rm -rf /)")
    assert commit_of(tmp_path) == head


def test_lines_end_at_gaps_and_other_configurations(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    other = [verdict(0.3, epsilon=0.2), verdict(0.2, epsilon=0.2)]
    runs = [verdict(0.7), verdict(0.6), verdict(None), verdict(0.6), *other]
    for run in runs:
        append(path, run)
    append(path, verdict(0.5, gate="alone"))
    document = history_document(load_history(path), ["robust", "alone"])
    (history,) = histories_of({"history": document})
    assert (history.gate, history.count) == ("robust", 6)
    assert [stretch.line.count(",") for stretch in history.stretches] == [2, 2]
    assert (len(history.points), len(history.gaps)) == (5, 1)
    first, second = history.points[:2]
    assert first.x < second.x
    assert first.y < second.y  # downwards: less robust
    assert history.rows[0].measured == "0.200 [0.100, 0.300]"
    assert history_document(load_history(path), ["gone"]) == []
