"""The version stands in one place, and everything else agrees with it."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import entry_points, version
from pathlib import Path

import fgmf

ROOT = Path(__file__).parents[2]


def test_the_installed_version_is_that_of_the_package() -> None:
    assert version("pytest-fgmf") == fgmf.__version__


def test_the_project_file_has_no_version_of_its_own() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "version" not in project
    assert project["dynamic"] == ["version"]


def test_the_newest_entry_of_the_changes_is_this_version() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == fgmf.__version__


def test_pytest_finds_the_plugin() -> None:
    (entry,) = entry_points(group="pytest11", name="fgmf")
    assert entry.value == "pytest_fgmf.plugin"


def test_the_command_is_there() -> None:
    (entry,) = entry_points(group="console_scripts", name="fgmf")
    assert callable(entry.load())


def test_types_are_shipped() -> None:
    assert all((ROOT / package / "py.typed").exists() for package in ("fgmf", "pytest_fgmf"))


def test_every_public_name_is_there() -> None:
    assert all(getattr(fgmf, name) is not None for name in fgmf.__all__)
    assert dir(fgmf) == sorted(fgmf.__all__)
