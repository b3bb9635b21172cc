"""Import and call the factories that a gate file names."""

from __future__ import annotations

import importlib
import sys
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgmf.errors import FactoryFailed, FgmfError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.machinery import ModuleSpec


@contextmanager
def importing_from(directory: Path) -> Iterator[None]:
    """Put a directory first on the import path; take it off again.

    Args:
        directory: That of the gate file.
    """
    entry = str(directory)
    sys.path.insert(0, entry)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if entry in sys.path:
            sys.path.remove(entry)


def call_factory(
    source: str, factory: str, arguments: Mapping[str, Any], *, directory: Path
) -> object:
    """Import a factory and call it.

    Args:
        source: What it is, for messages, such as ``model factory 'shop.model:load'``.
        factory: ``package.module:function``.
        arguments: Its keyword arguments.
        directory: First place to import from.

    Returns:
        What it returned, which is not None.

    Raises:
        FactoryFailed: It cannot be imported, raised, wanted to exit, or returned None.
    """
    module_name, _, path = factory.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        _check_origin(source, module_name, directory)
        for part in path.split("."):
            found = getattr(found, part)
    except FgmfError:
        raise
    except (Exception, SystemExit) as error:
        raise FactoryFailed(f"{source} cannot be imported: {_named(error)}") from error
    try:
        made: object = found(**arguments)
    except (Exception, SystemExit) as error:
        raise FactoryFailed(f"{source} raised {_named(error)}") from error
    if made is None:
        raise FactoryFailed(f"{source} returned None; it must return what it made")
    return made


def _check_origin(source: str, module_name: str, directory: Path) -> None:
    """Refuse a module of the same name that was imported earlier from elsewhere.

    Two repositories with a `model.py` each would otherwise be measured as one model.
    """
    local = _spec_in(directory, module_name)
    loaded = getattr(sys.modules[module_name], "__spec__", None)
    if local is None or loaded is None or _places(local) & _places(loaded):
        return
    there = ", ".join(sorted(_places(loaded))) or "elsewhere"
    message = (
        f"{source} cannot be imported: a module {module_name!r} was already imported from "
        f"{there}, and the gate file's directory {directory} has another; rename one of them"
    )
    raise FactoryFailed(message)


def _spec_in(directory: Path, module_name: str) -> ModuleSpec | None:
    """Find a module below a directory, whatever has been imported."""
    places, spec = [str(directory)], None
    parts = module_name.split(".")
    for count in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:count]), places)
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or ())
    return spec


def _places(spec: ModuleSpec) -> set[str]:
    if spec.has_location and spec.origin is not None:
        return {str(Path(spec.origin).resolve())}
    return {str(Path(place).resolve()) for place in spec.submodule_search_locations or ()}


def _named(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines) or 'no message'}"
