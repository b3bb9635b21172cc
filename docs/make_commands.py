"""Write docs/commands.md: every command of `fgmf` with its arguments, options and their meaning.

    python docs/make_commands.py

`tests/meta/test_command_reference.py` fails where the page is not what this writes.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args, get_origin

from typer.models import ArgumentInfo, OptionInfo

from fgmf.cli.application import application

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import typer

PAGE: Final = Path(__file__).resolve().parent / "commands.md"
_HEAD: Final = """# Commands and their options

Written by `python docs/make_commands.py` from the commands themselves. What they are for:
[Options and commands](options.md); how they end: [Outcomes and exit codes](exit-codes.md)."""


def page() -> str:
    """Return the text of the page."""
    parts = [_HEAD]
    for name, function, meaning in commands():
        parts += [f"## `{name}`", _words(meaning)]
        rows = [row for _, row in parameters(function)]
        if rows:
            parts.append("\n".join(["| Takes | Default | Meaning |", "| --- | --- | --- |", *rows]))
    return "\n\n".join(parts) + "\n"


def commands() -> list[tuple[str, Callable[..., object], str]]:
    """Return every command: all the words of its name, its function, what it does."""
    return sorted(_below("fgmf", application), key=lambda entry: entry[0])


def _below(name: str, place: typer.Typer) -> Iterator[tuple[str, Callable[..., object], str]]:
    for command in place.registered_commands:
        function = command.callback
        if function is not None:
            own = command.name or function.__name__.replace("_", "-")
            yield f"{name} {own}", function, command.help or function.__doc__ or ""
    for group in place.registered_groups:
        if group.typer_instance is not None:
            own = group.name or group.typer_instance.info.name
            below = f"{name} {own}" if isinstance(own, str) and own else name
            yield from _below(below, group.typer_instance)


def parameters(function: Callable[..., object]) -> Iterator[tuple[str, str]]:
    """Yield what a command takes: its flag or name, and the row of the table."""
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        taken, *notes = get_args(parameter.annotation)
        info = next(note for note in notes if isinstance(note, ArgumentInfo | OptionInfo))
        meaning = _words(info.help or "")
        if isinstance(info, ArgumentInfo):
            shown = (info.metavar or name).upper()
            yield shown, f"| `{shown}` | | {meaning} |"
            continue
        flag = next(iter(info.param_decls or ()), f"--{name.replace('_', '-')}")
        value = "" if taken is bool else f" {info.metavar or _value_of(taken)}"
        yield flag, f"| `{flag}{value}` | {_default(parameter.default)} | {meaning} |"


def _value_of(taken: object) -> str:
    """A word for the type of an option's value; the choices, where there are some."""
    for inner in (taken, *get_args(taken)):
        if get_origin(inner) is Literal:
            return "\\|".join(map(str, get_args(inner)))
    names = {str: "TEXT", int: "N", float: "NUMBER", Path: "PATH"}
    for inner in (taken, *get_args(taken), *(a for t in get_args(taken) for a in get_args(t))):
        if inner in names:
            return names[inner]  # type: ignore[index] # just looked up
    return "VALUE"


def _default(value: object) -> str:
    idle = value is inspect.Parameter.empty or value is None or isinstance(value, bool)
    return "" if idle or value in ((), []) else f"`{value}`"


def _words(text: str) -> str:
    return " ".join(text.replace("\b", " ").split()).replace("|", "\\|")


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
