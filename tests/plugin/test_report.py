"""`--fgmf-report`: one document, the same however the run is spread."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.plugin.conftest import section
from tests.plugin.test_outcomes import FOUR

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def without_cost(document: dict[str, Any]) -> dict[str, Any]:
    return {
        **document,
        "verdicts": [{k: v for k, v in e.items() if k != "cost"} for e in document["verdicts"]],
    }


def test_plain_and_spread_runs_write_the_same_but_for_cost(project: Project) -> None:
    project.gates(*FOUR, 'name = "wide"\nepsilon = ["8/255", 0.1]')
    for name, mode in (("a.json", ""), ("b.json", "-n2"), ("c.json", "-p no:randomly")):
        project.run(f"--fgmf-report=json:{name}", mode=mode)
    first = without_cost(project.report("a.json"))
    assert [e["gate"] for e in first["verdicts"]] == [
        "bad",
        "broken",
        "good",
        "vague",
        "wide@0.1",
        "wide@8/255",
    ]
    assert without_cost(project.report("b.json")) == first
    assert without_cost(project.report("c.json")) == first


def test_the_document_has_what_readers_need(project: Project, local: str) -> None:
    path = project.gates('name = "good"')
    project.run("--fgmf-report", "json:out/deep/report.json", mode=local)
    document = project.report("out/deep/report.json")
    assert document["schema"] == "fgmf-report/1"
    run = document["run"]
    assert (run["gate_file"], run["profile"], run["seed"]) == ("fgmf.toml", "default", 0)
    assert run["gate_file_digest"].startswith("sha256:")
    (verdict,) = document["verdicts"]
    assert verdict["kind"] == "stub-gate"
    assert verdict["cost"] == {
        "forward_passes": 3,
        "backward_passes": 0,
        "seconds": 0.25,
        "cached_images": 0,
    }
    assert verdict["interval"]["confidence"] == 0.95
    assert path.exists()


def test_several_reports_are_written(project: Project) -> None:
    project.gates('name = "good"')
    result = project.run("--fgmf-report=json:a.json", "--fgmf-report=json:b.json")
    assert project.report("a.json") == project.report("b.json")
    result.stdout.fnmatch_lines(["report: *a.json", "report: *b.json"])


def test_the_ini_value_is_relative_to_the_configuration(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("pytest.ini", "[pytest]\nfgmf_report = json:out/report.json\n")
    project.gates('name = "good"')
    monkeypatch.chdir(project.path / "tests")
    project.run()
    assert project.outcomes("out/report.json") == {"good": "pass"}


def test_a_run_without_gates_writes_an_empty_list(project: Project) -> None:
    project.run("--fgmf-report=json:report.json")
    assert project.report()["verdicts"] == []
    assert project.report()["run"]["gate_file"] is None


def test_a_report_that_cannot_be_written_fails_the_run(project: Project, local: str) -> None:
    project.gates('name = "good"')
    project.write("file", "not a folder")
    result = project.run("--fgmf-report=json:file/report.json", mode=local)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["report NOT written: *file/report.json: *Error: *"])
    assert sum("file/report.json" in line for line in section(result)) == 1


def test_an_old_report_is_replaced_as_a_whole(project: Project) -> None:
    project.gates('name = "good"')
    project.write("report.json", json.dumps({"verdicts": ["old"] * 10_000}))
    project.run("--fgmf-report=json:report.json")
    assert project.outcomes() == {"good": "pass"}
    assert sorted(p.name for p in project.path.glob(".report*")) == []


def test_evidence_that_is_not_json_is_an_error_not_a_crash(project: Project, mode: str) -> None:
    project.gates('name = "good"')
    conftest = project.path / "conftest.py"
    conftest.write_text(
        conftest.read_text().replace("evidence=self.evidence(),", 'evidence={"odd": object()},')
    )
    result = project.run("--fgmf-report=json:report.json", mode=mode)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert project.outcomes() == {"good": "error"}
    result.stdout.fnmatch_lines(["stub-gate: not measured: expected JSON *evidence.odd*"])


def test_a_pass_on_a_value_that_is_no_number_is_an_error(project: Project) -> None:
    project.gates('name = "good"')
    conftest = project.path / "conftest.py"
    conftest.write_text(conftest.read_text().replace('"pass": 0.9', '"pass": float("nan")'))
    project.run("--fgmf-report=json:report.json")
    assert project.outcomes() == {"good": "error"}
