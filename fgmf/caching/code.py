"""Digests of code: what is loaded, not only what lies on the disk.

Own modules are all loaded ones that are neither of the standard library, nor of an installed
distribution, nor of this package. Their digests are over the file, the code of functions and
classes as it was loaded, and the plain values in the module. Distributions are told apart by
version: those that a model's classes and the own modules come from or name, and all that these
require. Of this package, every file counts.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import sysconfig
from collections.abc import Iterable
from functools import cached_property
from importlib import metadata
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from fgmf.errors import NotCacheable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.types import Json

_PACKAGE: Final = Path(__file__).resolve().parent.parent
_OWN_PACKAGES: Final = frozenset({_PACKAGE.name, "pytest_fgmf"})
_PLAIN: Final = (bool, int, float, complex, str, bytes, type(None))
_CONTAINERS: Final = (tuple, list, set, frozenset)
_ALWAYS: Final = ("torch", "numpy", "foolbox", "eagerpy", "scipy")
_REQUIREMENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class LoadedCode:
    """The code that is loaded at this moment.

    Raises:
        NotCacheable: The source of a loaded module cannot be read.
    """

    def __init__(self) -> None:
        """Look at every loaded module.

        Cost: one read of each own source file and of this package's.
        """
        self._foreign = _foreign_places()
        self._names: set[str] = set(_ALWAYS)
        self.sources: dict[str, str] = {}
        """Digest of each own module, by name."""
        seen: set[int] = set()
        for name, module in sorted(sys.modules.items()):
            path = _file_of(module) if id(module) not in seen else None
            seen.add(id(module))  # __main__ may have a second name
            if path is not None and not self._is_foreign(name, path) and not _is_ours(name):
                self.sources[name] = self._module_digest(name, module, path)

    def own(self, module: str) -> bool:
        """Whether a module is one of those whose code has a digest here."""
        return module in self.sources

    def require_class(self, kind: type) -> str:
        """Return the full name of a class whose source is known.

        Raises:
            NotCacheable: It was made at run time, or by a module without a Python file.
        """
        module = sys.modules.get(kind.__module__)
        path = None if module is None else _file_of(module)
        if path is None or path.suffix != ".py":
            raise NotCacheable(f"the source of class {full_name(kind)} cannot be found")
        self._names.add(kind.__module__.partition(".")[0])
        return full_name(kind)

    def require_function(self, function: FunctionType) -> None:
        """See to it that the source of a function is known.

        Raises:
            NotCacheable: It was made at run time.
        """
        path = Path(function.__code__.co_filename)
        if path.suffix != ".py" or not path.is_file():
            raise NotCacheable(f"the source of {function.__qualname__} cannot be found")
        self._names.add(function.__module__.partition(".")[0])

    def versions(self, *, also: tuple[str, ...] = ()) -> dict[str, Json]:
        """Versions of the distributions that the code seen so far comes from or names.

        Args:
            also: Names of further packages.

        Returns:
            By name: the version, and a digest of the list of installed files with their own
            digests, because a package of one's own may be installed again under its version.

        Cost: a look at the metadata of the installed distributions.
        """
        owners = metadata.packages_distributions()
        # Whether they are loaded yet must not matter: that differs between the gates of a run.
        named = sorted({*self._names, *also})
        waiting = [distribution for name in named for distribution in owners.get(name, ())]
        versions: dict[str, Json] = {}
        while waiting:
            name = _normal(waiting.pop())
            if name in versions:
                continue
            try:
                distribution = metadata.distribution(name)
            except metadata.PackageNotFoundError:
                continue  # not installed: what is required there is optional
            files = hashlib.sha256((distribution.read_text("RECORD") or "").encode()).hexdigest()
            versions[name] = f"{distribution.version} {files}"
            waiting += _required(distribution)
        return versions

    def _is_foreign(self, name: str, path: Path) -> bool:
        if path.is_absolute():
            return str(path).startswith(self._foreign) or str(path.resolve()).startswith(
                self._foreign
            )
        # Distributions make modules at run time, whose files are names without a place.
        package = _file_of(sys.modules.get(name.partition(".")[0]))
        return package is not None and package != path and self._is_foreign("", package)

    def _module_digest(self, name: str, module: ModuleType, path: Path) -> str:
        try:
            digest = hashlib.sha256(path.read_bytes())
        except OSError as error:
            raise NotCacheable(f"the source of module {name} cannot be read: {error}") from error
        for key, value in sorted(vars(module).items()):
            # Names of the machinery (__file__, @py_assert) differ between places, not in meaning.
            if key.startswith(("__", "@")):
                continue
            owner = value.__name__ if isinstance(value, ModuleType) else _module_of(value)
            self._names.add(owner.partition(".")[0])
            if is_plain(value):
                digest.update(f"{key}={plain_text(value)};".encode())
            elif owner == name:
                for function in functions_in(value):
                    digest.update(f"{key}:{code_digest(function.__code__)};".encode())
                    self._names.update(function.__code__.co_names)
        return digest.hexdigest()


def package_digest() -> str:
    """Digest of every source file of this package.

    Cost: one read of each.
    """
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(_PACKAGE).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def code_digest(code: CodeType) -> str:
    """Digest of what compiled code does: no file names, no line numbers."""
    digest = hashlib.sha256(code.co_code)
    digest.update(repr((code.co_names, code.co_varnames, code.co_freevars)).encode())
    for constant in code.co_consts:
        text = code_digest(constant) if isinstance(constant, CodeType) else plain_text(constant)
        digest.update(f"{text};".encode())
    return digest.hexdigest()


def functions_in(value: object) -> Iterator[FunctionType]:
    """Yield a function, or those in the body of a class, unwrapped."""
    if isinstance(value, FunctionType):
        yield value
    elif isinstance(value, type):
        for _, member in sorted(vars(value).items()):
            for part in _unwrapped(member):
                if isinstance(part, FunctionType):
                    yield part


def holds_functions(member: object) -> bool:
    """Whether :func:`functions_in` looks into a member of a class."""
    return any(isinstance(part, FunctionType) for part in _unwrapped(member))


def names_in(code: CodeType) -> frozenset[str]:
    """Names of globals and attributes that code looks up, that of functions inside it too."""
    inner = (names_in(part) for part in code.co_consts if isinstance(part, CodeType))
    return frozenset(code.co_names).union(*inner)


def full_name(kind: type) -> str:
    """Return module and name of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


def is_plain(value: object) -> bool:
    """Whether a value is a number, text, or a container of such."""
    kind = type(value)
    if kind is dict and isinstance(value, dict):
        return all(is_plain(part) for pair in value.items() for part in pair)
    if kind in _CONTAINERS and isinstance(value, Iterable):
        return all(is_plain(part) for part in value)
    return kind in _PLAIN


def plain_text(value: object) -> str:
    """Write a plain value so that equal ones have equal texts in every process."""
    if isinstance(value, (set, frozenset)):
        return f"{type(value).__name__}{sorted(plain_text(part) for part in value)}"
    if isinstance(value, (tuple, list)):
        return f"{type(value).__name__}[{','.join(plain_text(part) for part in value)}]"
    if isinstance(value, dict):
        pairs = (f"{plain_text(key)}:{plain_text(part)}" for key, part in value.items())
        return f"{type(value).__name__}{{{','.join(pairs)}}}"
    return f"{type(value).__name__}:{value!r}"


def _unwrapped(member: object) -> Iterable[object]:
    if isinstance(member, (staticmethod, classmethod)):
        return (member.__func__,)
    if isinstance(member, property):
        return (member.fget, member.fset, member.fdel)
    if isinstance(member, cached_property):
        return (member.func,)
    return (member,)


def _foreign_places() -> tuple[str, ...]:
    """Directories of the standard library, of installed distributions and of their commands.

    Each ends with a separator.
    """
    import site

    names = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
    places = [sysconfig.get_path(name) for name in names]
    places += [*site.getsitepackages(), site.getusersitepackages()]
    found = [Path(place) for place in places if place]
    # Where else something was installed to: PYTHONPATH, .pth files, `pip install --target`. What
    # only lies beside its own code (an .egg-info of a checkout) has no installer.
    # Nor is what one works in foreign, although something was installed there as well.
    installed = (entry for entry in metadata.distributions() if entry.read_text("INSTALLER"))
    elsewhere = {Path(str(entry.locate_file(""))).absolute() for entry in installed}
    here = Path.cwd()
    found += [place for place in elsewhere if not here.is_relative_to(place)]
    return tuple(sorted({f"{p}{os.sep}" for path in found for p in (path, path.resolve())}))


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in _OWN_PACKAGES


def _file_of(module: Any) -> Path | None:  # noqa: ANN401 - anything can lie in sys.modules
    path = getattr(module, "__file__", None)
    return Path(path) if isinstance(path, str) and path else None


def _module_of(value: object) -> str:
    owner = getattr(type(value), "__module__", "")
    if isinstance(value, (type, FunctionType)):
        owner = value.__module__
    return owner if isinstance(owner, str) else ""


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _required(distribution: metadata.Distribution) -> list[str]:
    """Names of what a distribution requires; what only its extras require is left out."""
    names = []
    for requirement in distribution.requires or ():
        found = _REQUIREMENT.match(requirement)
        if found and "extra ==" not in requirement:
            names.append(found.group())
    return names
