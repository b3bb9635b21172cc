"""The page of commands is what the commands say; every option has words and a test that uses it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import typer.main

from fgmf.cli.application import application

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("make_commands", ROOT / "docs" / "make_commands.py")
assert SPEC is not None
assert SPEC.loader is not None
reference: Any = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(reference)
COMMANDS = reference.commands()
TESTS = "\n".join(
    page.read_text() for page in (ROOT / "tests").rglob("*.py") if page != Path(__file__)
)


def test_the_page_is_what_the_commands_say() -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    assert page == reference.page(), "run `python docs/make_commands.py`, and commit the page"


def test_no_command_is_left_out() -> None:
    def names(name: str, command: Any) -> set[str]:
        members = getattr(command, "commands", None)
        if members is None:
            return {name}
        return set().union(*(names(f"{name} {word}", below) for word, below in members.items()))

    assert {name for name, _, _ in COMMANDS} == names("fgmf", typer.main.get_command(application))


@pytest.mark.parametrize(("name", "function"), [(n, f) for n, f, _ in COMMANDS])
def test_everything_that_a_command_takes_has_words_and_a_test(name: str, function: Any) -> None:
    for flag, row in reference.parameters(function):
        assert not row.rstrip(" |").endswith("` |"), f"{name} {flag} has no meaning"
        assert not row.endswith("|  |"), f"{name} {flag} has no meaning"
        assert not flag.startswith("--") or flag in TESTS, f"{name} {flag} is in no test"
