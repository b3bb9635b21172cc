"""Rules of the house that no linter holds."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PACKAGES = [ROOT / "fgmf", ROOT / "pytest_fgmf"]
SOURCES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
ALL = SOURCES + sorted(
    path for folder in ("tests", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py")
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _public(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function | ast.ClassDef]]:
    """Public functions and classes of a module, and public methods of public classes."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from _public(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.If):  # `if not TYPE_CHECKING:`
            yield from _public(node, prefix)


def _annotated(function: Function) -> bool:
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    arguments = [a for a in named if a is not None and a.arg not in {"self", "cls"}]
    return function.returns is not None and all(a.annotation is not None for a in arguments)


def _trees() -> Iterator[tuple[str, ast.Module]]:
    for path in SOURCES:
        yield _name(path), ast.parse(path.read_text())


def _public_functions() -> Iterator[tuple[str, Function]]:
    for file, tree in _trees():
        for name, node in _public(tree):
            if isinstance(node, Function):
                yield f"{file}: {name}", node


def test_there_are_sources() -> None:
    assert len(SOURCES) > 20


def test_files_are_short() -> None:
    lines = {_name(path): len(path.read_text().splitlines()) for path in ALL}
    assert {name: count for name, count in lines.items() if count > 400} == {}


def test_modules_are_described() -> None:
    assert [name for name, tree in _trees() if not ast.get_docstring(tree)] == []


def test_what_is_public_is_described() -> None:
    public = [(file, name, node) for file, tree in _trees() for name, node in _public(tree)]
    assert [f"{file}: {name}" for file, name, node in public if not ast.get_docstring(node)] == []


def test_public_functions_are_typed() -> None:
    assert [name for name, function in _public_functions() if not _annotated(function)] == []


def test_public_functions_pass_no_arguments_through() -> None:
    """With `**kwargs` a wrong name would be found far away, or never."""
    assert [name for name, f in _public_functions() if f.args.kwarg is not None] == []


def test_modules_have_a_subject() -> None:
    vague = re.compile(r"(.*_)?(utils?|helpers?|misc|common|base)")
    assert [_name(path) for path in SOURCES if vague.fullmatch(path.stem)] == []


def test_no_class_is_called_base() -> None:
    classes = [
        f"{file}: {node.name}"
        for file, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and re.match(r"_?Base|.*Base$", node.name)
    ]
    assert classes == []


def test_a_suppression_of_a_lint_carries_its_rule_and_its_reason() -> None:
    bare = [
        f"{_name(path)}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "# noqa" in line and not re.search(r"# noqa: [A-Z0-9, ]+ - \S", line)
    ]
    assert bare == []
