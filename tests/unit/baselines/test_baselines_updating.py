"""Writing baselines: only from decided gates, whole or not at all, and so that git takes them."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from fgmf.baselines import (
    BASELINES_DIRECTORY,
    Comparison,
    Update,
    baseline_path,
    compare_with_baselines,
    git_refusal,
    git_warning,
    load_baseline,
    parse_limit,
    settled,
    update_baselines,
)
from fgmf.verdict import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.baselines.conftest import MakeVerdict

GIT = shutil.which("git")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / BASELINES_DIRECTORY


def _update(directory: Path, *verdicts: Any, limit: str = "") -> list[Update]:
    limits = (parse_limit(limit),) if limit else ()
    comparisons = compare_with_baselines(verdicts, directory, limits=limits)
    return update_baselines(verdicts, comparisons, directory)


@pytest.mark.parametrize("outcome", [Outcome.PASS, Outcome.FAIL])
def test_a_decided_gate_makes_a_baseline(
    outcome: Outcome, directory: Path, verdict_of: MakeVerdict
) -> None:
    (update,) = _update(directory, verdict_of("rrbw", outcome=outcome))
    assert update.path == baseline_path(directory, "robust")
    assert load_baseline(update.path).images.outcomes == "rrbw"
    assert (update.reason, update.owed) == ("", False)


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": Outcome.ERROR},
        {"outcome": Outcome.INCONCLUSIVE},
        {"outcome": Outcome.INCONCLUSIVE, "accepted": True},
        {"outcomes": "rrbu", "outcome": Outcome.FAIL},
        {"outcomes": "rrbf", "outcome": Outcome.FAIL},
        {"evidence": {"images": None}},
        {"measured": 0.9},
    ],
)
def test_any_other_gate_keeps_the_old_one(
    changes: dict[str, Any], directory: Path, verdict_of: MakeVerdict
) -> None:
    path = baseline_path(directory, "robust")
    _update(directory, verdict_of("rrbw"))
    before = path.read_bytes()
    (update,) = _update(directory, verdict_of(**{"outcomes": "rrrr", **changes}))
    assert update.path is None
    assert update.reason
    assert update.owed
    assert path.read_bytes() == before


def test_a_gate_that_breaks_a_limit_keeps_the_old_one(
    directory: Path, verdict_of: MakeVerdict
) -> None:
    _update(directory, verdict_of("rrrr"))
    (update,) = _update(directory, verdict_of("rrrb"), limit="robust_accuracy:2pp")
    assert update.owed
    assert load_baseline(baseline_path(directory, "robust")).images.outcomes == "rrrr"
    (update,) = _update(directory, verdict_of("rrrb"))
    assert load_baseline(baseline_path(directory, "robust")).images.outcomes == "rrrb"


def test_a_name_that_occurs_twice_is_not_written(directory: Path, verdict_of: MakeVerdict) -> None:
    updates = _update(directory, verdict_of("rr"), verdict_of("rb"))
    assert [update.path for update in updates] == [None, None]
    assert not directory.exists()


def test_a_stale_baseline_is_replaced_and_owed_no_more(
    directory: Path, verdict_of: MakeVerdict
) -> None:
    _update(directory, verdict_of("rrbw"))
    verdict = verdict_of("rrbw", first=4)
    comparisons = compare_with_baselines(
        [verdict], directory, limits=(parse_limit("robust_accuracy:2pp"),)
    )
    assert comparisons[0].outcome is Outcome.ERROR
    updates = update_baselines([verdict], comparisons, directory)
    assert [c.outcome for c in settled(comparisons, updates)] == [None]
    other = [Comparison(gate="gone", status="unmatched", owed=True)]
    assert [c.outcome for c in settled(other, updates)] == [Outcome.ERROR]


def test_a_link_is_not_written_through(
    directory: Path, tmp_path: Path, verdict_of: MakeVerdict
) -> None:
    directory.mkdir(parents=True)
    target = tmp_path / "precious"
    target.write_text("mine")
    baseline_path(directory, "robust").symlink_to(target)
    (update,) = _update(directory, verdict_of("rr"))
    assert update.owed
    assert target.read_text() == "mine"


def test_a_directory_that_cannot_be_written_is_said(
    tmp_path: Path, verdict_of: MakeVerdict
) -> None:
    (tmp_path / ".fgmf").write_text("a file")
    (update,) = _update(tmp_path / BASELINES_DIRECTORY, verdict_of("rr"))
    assert update.owed
    assert update.path is None


def test_an_interrupted_write_leaves_the_old_one(
    directory: Path, verdict_of: MakeVerdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    _update(directory, verdict_of("rr"))

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    (update,) = _update(directory, verdict_of("rb"))
    assert "No space left" in update.reason
    assert load_baseline(baseline_path(directory, "robust")).images.outcomes == "rr"
    assert len(list(directory.iterdir())) == 1


def _git(directory: Path, *arguments: str) -> str:
    command = [str(GIT), "-c", "user.name=a", "-c", "user.email=a@b.example", *arguments]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("earlier", ["nothing", "ours", "theirs"])
def test_git_takes_baselines_and_no_failures(
    earlier: str, directory: Path, tmp_path: Path, verdict_of: MakeVerdict
) -> None:
    """In a `.fgmf` that ignores itself, whoever made it: saved failures, or an earlier version."""
    _git(tmp_path, "init", "-q")
    ignore = tmp_path / ".fgmf" / ".gitignore"
    if earlier != "nothing":
        ignore.parent.mkdir()
        ignore.write_text("*\n" if earlier == "ours" else "*\n# mine\n")
    updates = _update(directory, verdict_of("rr", gate="tests/test_a.py/test_b"))
    secret = tmp_path / ".fgmf" / "failures" / "x.png"
    secret.parent.mkdir()
    secret.write_text("")
    _git(tmp_path, "add", "--all")
    tracked = _git(tmp_path, "ls-files").splitlines()
    path = baseline_path(directory, "tests/test_a.py/test_b").relative_to(tmp_path).as_posix()
    if earlier == "theirs":
        assert tracked == []
        assert "git ignores these baselines (" in git_warning(updates)
    else:
        assert tracked == [path]
        assert git_warning(updates) == ""


@pytest.mark.parametrize(
    ("rules", "refused"),
    [
        (".fgmf/\n", True),
        (".fgmf/*\n!.fgmf/baselines/\n", False),  # what the warning advises
        ("*.json\n", False),  # the directory's own rules come last
        ("", False),
    ],
)
def test_a_repository_that_ignores_baselines_is_told(
    rules: str, refused: bool, directory: Path, tmp_path: Path, verdict_of: MakeVerdict
) -> None:
    _git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text(rules)
    (update,) = _update(directory, verdict_of("rr"))
    assert update.path is not None
    assert bool(git_refusal(update.path)) is refused
    _git(tmp_path, "add", "--all")
    assert ("baselines" not in _git(tmp_path, "ls-files")) is refused


def test_without_git_nothing_is_said(
    directory: Path, verdict_of: MakeVerdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_warning(_update(directory, verdict_of("rr"))) == ""
