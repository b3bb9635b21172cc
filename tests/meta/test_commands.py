"""The README's commands are the ones that CI runs, in the same words."""

from __future__ import annotations

import os
import re
import tomllib
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CI = (ROOT / ".ci" / "run").read_text()


def _commands() -> tuple[str, str]:
    """The two commands of the README for a fresh machine: the main job and the tests."""
    section = README.partition("\n## Try it\n")[2].partition("\n## ")[0]
    first, second = re.findall(r"```sh\n(.*?)\n```", section, re.DOTALL)
    return first, second


def test_each_is_one_command() -> None:
    for command in _commands():
        assert "\n" not in command
        assert command.startswith("python3.11 -m venv ")


def test_the_first_runs_the_example_and_the_second_the_tests() -> None:
    example, tests = _commands()
    script = example.split()[-1]
    assert (ROOT / script).is_file()
    assert " -m pytest" in tests


def test_ci_runs_both_as_they_are_written() -> None:
    assert all(command in CI.splitlines() for command in _commands())


def test_ci_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert CI.startswith("#!/usr/bin/env bash\n")


def test_ci_fails_when_a_check_fails() -> None:
    assert "set -euo pipefail" in CI
    assert CI.rstrip().endswith('exit "$status"')


def test_one_version_of_torch_everywhere() -> None:
    pins = [
        *re.findall(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE),
        *re.findall(r"torch==([\d.]+)", README + CI + (ROOT / "CONTRIBUTING.md").read_text()),
        *re.findall(r"torch==([\d.]+)", (ROOT / "tox.ini").read_text()),
    ]
    assert len(pins) >= 6
    assert len(set(pins)) == 1


def test_torch_comes_first_in_every_tox_environment_that_has_the_project() -> None:
    tox = ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    for name in tox.sections():
        section = tox[name]
        if name.startswith("testenv") and section.get("skip_install") != "true":
            first = section.get("deps", "{[testenv]deps}").strip().splitlines()[0]
            assert first in {"torch==2.13.0", "{[testenv]deps}"}, name


def test_tox_tests_the_lower_bounds_that_the_project_promises() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    promised = {}
    for requirement in [
        *project["dependencies"],
        *extras["examples"],
        *extras["numba"],
        *extras["onnx"],
    ]:
        name, bound = re.match(r"([\w-]+)>=([\d.]+)", requirement).groups()
        promised[name] = bound
    tox = ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    pinned = dict(re.findall(r"^([\w-]+)==([\d.]+)$", tox["testenv:lowest"]["deps"], re.MULTILINE))
    del promised["torch"]
    for name, bound in promised.items():
        assert (pinned[name] + ".").startswith(bound + "."), name
    assert set(pinned) == set(promised)
