"""Write the API reference, docs/reference/, from the source: signatures and docstrings, no imports.

    python docs/make_reference.py

`tests/meta/test_api_reference.py` fails where the pages are not what this writes.
"""

from __future__ import annotations

import ast
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parents[1]
PAGES: Final = ROOT / "docs" / "reference"
MODULES: Final = ("errors", "sampling", "seeding", "sequential", "statistics", "threat", "verdict")
"""Modules that are rooms by themselves: all that is public in them."""
UNLISTED: Final = frozenset({"cli"})
FIXTURE: Final = "pytest_fgmf.fixtures"
_WIDTH: Final = 100
_HEAD: Final = "Written by `python docs/make_reference.py`; [all pages](index.md)."


class Entry(NamedTuple):
    """A public name, and where it is defined."""

    name: str
    module: str
    node: ast.AST


def pages() -> dict[str, str]:
    """Return the text of every page by its file name."""
    found = {f"{module}.md": _page(module) for module in public_modules()}
    return {"index.md": _index(found), **found}


def public_modules() -> list[str]:
    """Return every module whose names are public, by its dotted name."""
    rooms = [
        path.parent.name
        for path in sorted((ROOT / "fgmf").glob("*/__init__.py"))
        if path.parent.name not in UNLISTED and _listed(_tree(f"fgmf.{path.parent.name}"))
    ]
    return ["fgmf", *(f"fgmf.{name}" for name in sorted({*rooms, *MODULES})), FIXTURE]


def entries(module: str) -> list[Entry]:
    """Return the public names of a module, in their order."""
    tree = _tree(module)
    names = _listed(tree) or [
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
    ]
    return [entry for name in names if (entry := _found(name, module)) is not None]


def _path(module: str) -> Path:
    place = ROOT.joinpath(*module.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def _tree(module: str) -> ast.Module:
    return ast.parse(_path(module).read_text(encoding="utf-8"))


def _listed(tree: ast.Module) -> list[str]:
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Name) and target.id == "__all__" and isinstance(node, ast.Assign):
            return [str(name) for name in ast.literal_eval(node.value)]
    return []


def _found(name: str, module: str) -> Entry | None:
    """Follow imports to where a name is defined; None for modules and dunder names."""
    if name.startswith("__") or _path(f"{module}.{name}").exists():
        return None
    for node in _statements(_tree(module).body):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return Entry(name, module, node)
        if _assigns(node, name):
            return Entry(name, module, node)
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name and node.module.startswith("fgmf"):
                    return _found(alias.name, node.module)
    raise LookupError(f"expected {name} to be defined in {module}, found it nowhere")


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield statements, also those under TYPE_CHECKING, where lazy names are imported."""
    for node in body:
        yield node
        if isinstance(node, ast.If):
            yield from _statements(node.body)


def _assigns(node: ast.AST, name: str) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def _page(module: str) -> str:
    first = (ast.get_docstring(_tree(module)) or "").strip()
    parts = [f"# {module}", _HEAD, _fenced(first)]
    for entry in entries(module):
        parts += [f"## {entry.name}", *_described(entry)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _index(found: dict[str, str]) -> str:
    lines = [
        "# API reference",
        "",
        "Written by `python docs/make_reference.py` from the source.",
        "",
    ]
    lines += ["| Module | Public names |", "| --- | --- |"]
    for name in found:
        module = name.removesuffix(".md")
        names = ", ".join(f"`{entry.name}`" for entry in entries(module))
        lines.append(f"| [{module}]({name}) | {names} |")
    return "\n".join(lines) + "\n"


def _described(entry: Entry) -> Iterator[str]:
    node = entry.node
    if isinstance(node, ast.FunctionDef):
        yield from _callable(node, place=entry.module)
        return
    if not isinstance(node, ast.ClassDef):
        yield _fenced(f"{ast.unparse(node)}\n\nin {entry.module}")
        return
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    title = f"class {node.name}({bases})" if bases else f"class {node.name}"
    fields = "\n".join(f"    {line}" for line in _fields(node))
    text = (ast.get_docstring(node) or "").strip()
    yield _fenced("\n\n".join(part for part in (title, fields, text, f"in {entry.module}") if part))
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
            yield f"### {node.name}.{member.name}"
            yield from _callable(member)


def _callable(node: ast.FunctionDef, *, place: str = "") -> Iterator[str]:
    decorators = [f"@{ast.unparse(d)}" for d in node.decorator_list]
    shown = [d for d in decorators if d in {"@property", "@classmethod", "@staticmethod"}]
    text = (ast.get_docstring(node) or "").strip()
    where = f"in {place}" if place else ""
    parts = ("\n".join([*shown, _signature(node)]), text, where)
    yield _fenced("\n\n".join(part for part in parts if part))


def _signature(node: ast.FunctionDef) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"{node.name}({ast.unparse(node.args)}){returns}"
    return "\n".join(textwrap.wrap(line, _WIDTH, subsequent_indent="    ", break_on_hyphens=False))


def _fields(node: ast.ClassDef) -> Iterator[str]:
    """Yield fields with their types and defaults, and the words that stand below some."""
    for at, member in enumerate(node.body):
        if isinstance(member, ast.AnnAssign) and not ast.unparse(member.target).startswith("_"):
            yield from textwrap.wrap(ast.unparse(member), _WIDTH - 4, subsequent_indent="    ")
            after = node.body[at + 1] if at + 1 < len(node.body) else None
            value = after.value if isinstance(after, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                words = " ".join(value.value.split())
                yield from textwrap.wrap(
                    words, _WIDTH - 8, initial_indent="    # ", subsequent_indent="    # "
                )


def _fenced(text: str) -> str:
    return f"```text\n{text.replace('```', chr(39) * 3)}\n```" if text else ""


def main() -> int:
    """Write every page, and remove those of modules that are gone."""
    PAGES.mkdir(exist_ok=True)
    written = pages()
    for path in PAGES.glob("*.md"):
        if path.name not in written:
            path.unlink()
    for name, text in written.items():
        (PAGES / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
