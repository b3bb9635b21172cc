"""`--fgmf-history`: what gates measured over runs, on disk and in reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.conftest import section
from tests.plugin.test_broken_files import assert_usage_error

if TYPE_CHECKING:
    from pathlib import Path

    from tests.plugin.conftest import Project

KEEP = "--fgmf-history"
GOOD, BAD = 'name = "good"', 'name = "good"\noutcome = "fail"'


def history(project: Project) -> Path:
    return project.path / ".fgmf" / "baselines" / "history.jsonl"


def test_runs_are_appended_and_shown(project: Project, mode: str) -> None:
    project.gates(GOOD)
    result = project.run(KEEP, mode=mode)
    assert result.ret == pytest.ExitCode.OK
    assert "history: .fgmf/baselines/history.jsonl" in section(result)
    project.gates(BAD)
    reports = ("--fgmf-report=html:page.html", "--fgmf-report=json:report.json")
    assert project.run(KEEP, *reports, mode=mode).ret == pytest.ExitCode.TESTS_FAILED
    assert len(history(project).read_text().splitlines()) == 2
    entries = project.report()["run"]["history"]
    assert [(entry["outcome"], entry["measured"]) for entry in entries] == [
        ("pass", 0.9),
        ("fail", 0.1),
    ]
    page = (project.path / "page.html").read_text()
    assert "<h2>History</h2>" in page
    assert "good over 2 runs" in page


def test_the_file_of_the_ini_value(project: Project) -> None:
    project.write("pytest.ini", "[pytest]\nfgmf_history = kept/gates.jsonl\n")
    project.gates(GOOD)
    assert project.run().ret == pytest.ExitCode.OK
    assert (project.path / "kept" / "gates.jsonl").is_file()
    assert not history(project).exists()


def test_a_damaged_history_is_an_error_and_stays(project: Project, local: str) -> None:
    project.gates(GOOD)
    history(project).parent.mkdir(parents=True)
    history(project).write_text("<<<<<<< HEAD\n")
    result = project.run(KEEP, "--fgmf-report=json:report.json", mode=local)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert any(line.startswith("history NOT written: ") for line in section(result))
    assert history(project).read_text() == "<<<<<<< HEAD\n"
    assert "history" not in project.report()["run"]


def test_an_interrupted_run_appends_nothing(project: Project) -> None:
    project.gates(GOOD)
    project.write("tests/test_own.py", "def test_own(): raise KeyboardInterrupt\n")
    result = project.run(KEEP)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "history NOT written: the run did not finish" in section(result)
    assert not history(project).exists()


def test_a_run_without_gates_is_no_history(project: Project) -> None:
    result = project.run(KEEP)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "history NOT written: the run had no gate" in section(result)
    assert not history(project).exists()


@pytest.mark.parametrize("value", ["tests", "history.txt", "shop.py"])
def test_another_file_is_refused(project: Project, value: str) -> None:
    project.gates(GOOD)
    result = project.run(f"{KEEP}={value}")
    assert_usage_error(result, "*--fgmf-history (fgmf_history): expected a file that ends in*")
