"""Whatever the plugin declares is described and tested: options, ini values, markers, hooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_fgmf import plugin

ROOT = Path(__file__).parents[2]
DOCUMENTS = "\n".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
TESTS = "\n".join(
    page.read_text() for page in (ROOT / "tests" / "plugin").glob("*.py") if page.name != __file__
)


class Recorder:
    """Stands for pytest's parser, its configuration and its plugin manager."""

    def __init__(self) -> None:
        self.options: set[str] = set()
        self.inis: set[str] = set()
        self.markers: set[str] = set()
        self.hooks: set[str] = set()

    def getgroup(self, *_: str) -> Recorder:
        return self

    def addoption(self, *names: str, **_: Any) -> None:
        self.options |= set(names)

    def addini(self, name: str, *_: Any, **__: Any) -> None:
        self.inis.add(name)

    def addinivalue_line(self, name: str, line: str) -> None:
        assert name == "markers"
        self.markers.add(line.partition(":")[0])

    def add_hookspecs(self, holder: type) -> None:
        self.hooks |= {name for name in vars(holder) if name.startswith("pytest_")}


@pytest.fixture(scope="module")
def declared() -> Recorder:
    recorder: Any = Recorder()
    plugin.pytest_addoption(recorder, recorder)
    plugin.pytest_configure(recorder)
    assert all((recorder.options, recorder.inis, recorder.markers, recorder.hooks))
    return recorder


@pytest.mark.parametrize("what", ["options", "inis", "markers", "hooks"])
def test_everything_is_described(declared: Recorder, what: str) -> None:
    assert {name for name in getattr(declared, what) if f"`{name}" not in DOCUMENTS} == set()


@pytest.mark.parametrize("what", ["options", "inis", "markers", "hooks"])
def test_everything_is_tested(declared: Recorder, what: str) -> None:
    assert {name for name in getattr(declared, what) if name not in TESTS} == set()


def test_every_exit_code_is_tested() -> None:
    from fgmf.cli.exits import ExitCode

    tests = (ROOT / "tests" / "unit" / "cli" / "test_cli_exits.py").read_text()
    assert {code.name for code in ExitCode if f"ExitCode.{code.name}" not in tests} == set()
    codes = {"OK", "TESTS_FAILED", "INTERRUPTED", "USAGE_ERROR", "NO_TESTS_COLLECTED"}
    assert {code for code in codes if f"ExitCode.{code}" not in TESTS} == set()


def test_everything_that_the_commands_take_is_tested_or_shared() -> None:
    """Each option of each command is named in a test of the commands."""
    import typer.main

    from fgmf.cli.application import application

    tests = "\n".join(page.read_text() for page in (ROOT / "tests").rglob("*.py"))
    commands: dict[str, Any] = typer.main.get_command(application).commands  # type: ignore[attr-defined]
    missing = {
        f"{name} {flag}"
        for name, command in commands.items()
        for parameter in command.params
        for flag in parameter.opts
        if flag.startswith("--") and flag not in tests
    }
    assert missing == set()
