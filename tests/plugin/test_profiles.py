"""Profiles: by option, by ini value, by environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.conftest import HEAD, section
from tests.plugin.test_broken_files import assert_usage_error

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

PROFILED = HEAD + "\n[profiles.nightly]\nimages = 99\n[profiles.ci]\nimages = 7\n"
GATES = ('name = "always"', 'name = "late"\nprofiles = ["nightly"]')


def images(project: Project) -> dict[str, int]:
    return {e["gate"]: e["image_count"] for e in project.report()["verdicts"]}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", {"always": 10}),
        ("pr", {"always": 10}),
        ("nightly", {"always": 99, "late": 99}),
        ("ci", {"always": 7}),
    ],
)
def test_the_option_selects(
    project: Project, mode: str, given: str, expected: dict[str, int]
) -> None:
    if mode == "-n2" and given != "nightly":
        mode = "-n0"
    project.gates(*GATES, head=PROFILED)
    arguments = [f"--fgmf-profile={given}"] if given else []
    project.run(*arguments, "--fgmf-report=json:report.json", mode=mode)
    assert images(project) == expected
    assert project.report()["run"]["profile"] == (given or "default")


def test_ci_is_automatic(project: Project, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    project.gates(*GATES, head=PROFILED)
    result = project.run("--fgmf-report=json:report.json", mode=mode)
    assert images(project) == {"always": 7}
    result.stdout.fnmatch_lines(["fgmf: *, profile ci: 1 gate: always"])


@pytest.mark.parametrize("value", ["", "0", "false"])
def test_ci_can_be_switched_off(
    project: Project, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("CI", value)
    project.gates(*GATES, head=PROFILED)
    project.run("--fgmf-report=json:report.json")
    assert images(project) == {"always": 10}


def test_ini_wins_over_ci_and_the_option_over_ini(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    project.write("pytest.ini", "[pytest]\nfgmf_profile = pr\n")
    project.gates(*GATES, head=PROFILED)
    project.run("--fgmf-report=json:report.json")
    assert images(project) == {"always": 10}
    project.run("--fgmf-report=json:report.json", "--fgmf-profile=nightly")
    assert images(project) == {"always": 99, "late": 99}


def test_what_is_left_out_is_said(project: Project, local: str) -> None:
    project.gates(*GATES, head=PROFILED)
    result = project.run("--fgmf-report=json:report.json", mode=local)
    result.stdout.fnmatch_lines(["fgmf: left out by profile default: late"])
    assert "left out by profile default: late" in section(result)
    assert project.report()["run"]["left_out"] == ["late"]


def test_a_profile_without_gates_is_a_usage_error(project: Project, mode: str) -> None:
    project.gates('profiles = ["nightly"]', head=PROFILED)
    assert_usage_error(
        project.run(mode=mode), "*expected a profile that runs at least one gate, got 'default'*"
    )


def test_an_unknown_profile_is_a_usage_error(project: Project, mode: str) -> None:
    project.gates("", head=PROFILED)
    result = project.run("--fgmf-profile=nigthly", mode=mode)
    assert_usage_error(result, "*expected one of default, ci, pr, nightly, *, got 'nigthly'")


def test_the_command_that_reproduces_names_the_profile(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "1")
    project.gates('name = "a"', head=PROFILED)
    project.run("--fgmf-report=json:report.json", "--fgmf-seed=7")
    (verdict,) = project.report()["verdicts"]
    assert verdict["reproduce"] == "pytest fgmf.toml::a --fgmf-profile ci --fgmf-seed 7"
