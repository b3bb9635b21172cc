"""`pytest_fgmf_result` and `pytest_fgmf_report`: told once, and never in the way."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.plugin.conftest import section
from tests.plugin.test_outcomes import FOUR

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

TELL = """

import json, os, pathlib

def pytest_fgmf_result(config, verdict, nodeid):
    with pathlib.Path(config.rootpath, "results.txt").open("a") as stream:
        stream.write(json.dumps([verdict.gate, str(verdict.outcome), nodeid, os.getpid()]) + "\\n")

def pytest_fgmf_report(config, document):
    with pathlib.Path(config.rootpath, "documents.txt").open("a") as stream:
        stream.write(json.dumps(document) + "\\n")
"""


def tracked(project: Project, code: str = TELL) -> Project:
    conftest = project.path / "conftest.py"
    conftest.write_text(conftest.read_text() + code)
    return project


def told(project: Project, name: str) -> list[Any]:
    path = project.path / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_each_verdict_is_told_once_and_the_report_at_the_end(project: Project, mode: str) -> None:
    tracked(project).gates(*FOUR)
    project.run("--fgmf-report=json:report.json", mode=mode)
    results = told(project, "results.txt")
    assert sorted(entry[:3] for entry in results) == [
        ["bad", "fail", "fgmf.toml::bad"],
        ["broken", "error", "fgmf.toml::broken"],
        ["good", "pass", "fgmf.toml::good"],
        ["vague", "inconclusive", "fgmf.toml::vague"],
    ]
    assert len({entry[3] for entry in results}) == 1
    assert told(project, "documents.txt") == [project.report()]


def test_a_gate_that_was_owed_is_told_as_an_error(project: Project, local: str) -> None:
    tracked(project).gates('name = "good"\nrequired = true')
    project.run("-m", "not fgmf", mode=local)
    assert [entry[:2] for entry in told(project, "results.txt")] == [["good", "error"]]
    (document,) = told(project, "documents.txt")
    assert [entry["outcome"] for entry in document["verdicts"]] == ["error"]


def test_an_interrupted_run_is_told_too(project: Project) -> None:
    tracked(project).gates('name = "good"\nrequired = true')
    project.write("tests/test_own.py", "def test_own(): raise KeyboardInterrupt\n")
    assert project.run("tests").ret == pytest.ExitCode.INTERRUPTED
    assert [entry[:2] for entry in told(project, "results.txt")] == [["good", "error"]]


@pytest.mark.parametrize("asked", ["--collect-only", "--fgmf-list"])
def test_nothing_is_told_while_collecting(project: Project, asked: str) -> None:
    tracked(project).gates('name = "good"')
    project.run(asked)
    assert told(project, "results.txt") == told(project, "documents.txt") == []


def test_without_a_gate_the_hooks_are_known_and_not_called(project: Project, local: str) -> None:
    """An unknown hook in a conftest file would be an error, in folders below the root too."""
    tracked(project)
    project.write("tests/conftest.py", TELL)
    project.run(mode=local).assert_outcomes(passed=1)
    assert told(project, "results.txt") == told(project, "documents.txt") == []


@pytest.mark.parametrize("hook", ["pytest_fgmf_result(verdict)", "pytest_fgmf_report(document)"])
def test_a_hook_that_raises_fails_the_run_and_hides_nothing(
    project: Project, mode: str, hook: str
) -> None:
    tracked(project, f"\ndef {hook}: raise ConnectionError('the tracker is away')\n")
    project.gates('name = "good"')
    result = project.run("--fgmf-report=json:report.json", mode=mode)
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    name = hook.partition("(")[0]
    assert f"hook {name} raised ConnectionError: the tracker is away" in section(result)
    assert project.outcomes() == {"good": "pass"}


def test_a_hook_may_stop_the_run(project: Project) -> None:
    tracked(project, "\ndef pytest_fgmf_result(verdict):\n    pytest.exit('enough', 7)\n")
    conftest = project.path / "conftest.py"
    conftest.write_text(
        conftest.read_text().replace("import fgmf.gates\n", "import fgmf.gates\nimport pytest\n", 1)
    )
    project.gates('name = "good"')
    assert project.run().ret == 7


def test_the_example_of_the_documents_works(project: Project) -> None:
    page = Path(__file__).parents[2] / "docs" / "hooks.md"
    (example,) = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    project.write(
        "mlflow.py",
        """
        import json, pathlib

        def _keep(*values):
            with pathlib.Path("mlflow.txt").open("a") as stream:
                stream.write(json.dumps(values) + "\\n")

        def log_metric(name, value): _keep("metric", name, value)
        def set_tag(name, value): _keep("tag", name, value)
        def log_dict(document, name): _keep("dict", name, document["schema"])
        """,
    )
    tracked(project, "\nimport sys; sys.path.insert(0, str(__import__('pathlib').Path.cwd()))\n")
    tracked(project, example).gates(*FOUR[:1])
    project.run()
    kept = told(project, "mlflow.txt")
    assert [entry[0] for entry in kept].count("dict") == 1
    assert ["dict", "fgmf.json", "fgmf-report/1"] in kept
    assert any(entry[0] == "tag" and entry[1].endswith(".outcome") for entry in kept)
