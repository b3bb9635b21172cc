"""A digest of everything that a module holds beside its parameters and buffers.

The digest of a model's state covers tensors and plain attributes. A model may also hold lists,
functions, other modules in a list, objects of its own: all of them are followed here, and so is
what own functions name: values, functions and classes of their module, and of other own modules.
What cannot be followed (a random generator, an open file, an object of an extension module) makes
the model one whose outcomes are not cached.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import re
import sys
from collections import OrderedDict, defaultdict, deque
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache, partial
from pathlib import PurePath
from types import (
    BuiltinFunctionType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch.nn.modules import module as module_hooks

from fgmf.caching.code import (
    code_digest,
    full_name,
    functions_in,
    holds_functions,
    is_plain,
    names_in,
    plain_text,
)
from fgmf.canonical import tensor_digest
from fgmf.classifier.state import state_digest
from fgmf.errors import NotCacheable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from fgmf.caching.code import LoadedCode

_HOOKS: Final = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)
_FOLLOWED_ELSEWHERE: Final = ("_parameters", "_buffers", "_modules", "training")
_TORCH_VALUES: Final = (torch.dtype, torch.device, torch.layout, torch.memory_format)
_SEQUENCES: Final = (list, tuple, deque, torch.Size)
_SETS: Final = (set, frozenset)
_MAPPINGS: Final = (dict, OrderedDict, MappingProxyType)
_TEXTS: Final = (*_TORCH_VALUES, PurePath, Enum, range, slice, Decimal, date, timedelta)
_CACHED_FUNCTION: Final = type(lru_cache(lambda: None))
_IMMUTABLE: Final = 1 << 8
"""Py_TPFLAGS_IMMUTABLETYPE: a class in C, whose objects hold more than Python sees."""
_BINDINGS: Final = "pybind11_builtins"
_NAMES_IT: Final = "the model's code names"
_MACHINERY: Final = frozenset({"_abc_impl"})
"""What Python itself keeps in classes."""


def contents_digest(module: torch.nn.Module, code: LoadedCode) -> str:
    """Digest of a module's classes, attributes and functions.

    Args:
        module: The model.
        code: What is loaded; it hears which classes and functions the model consists of.

    Returns:
        Hexadecimal digits. Not of parameters and buffers, which `state_digest` covers.

    Raises:
        NotCacheable: There are hooks, code without a source, or contents that hide something.

    Cost: a copy of each tensor that is kept as an attribute.
    """
    _refuse_global_hooks()
    contents = _Contents(code)
    contents.add_module(module)
    for name in code.sources:
        contents.add_globals(name)
    return contents.hexdigest()


class _Contents:
    """A running digest over values, each followed once."""

    def __init__(self, code: LoadedCode) -> None:
        self._code, self._digest = code, hashlib.sha256()
        self._seen: dict[int, int] = {}
        self._alive: list[object] = []
        self._named: set[tuple[str, str]] = set()

    def hexdigest(self) -> str:
        return self._digest.hexdigest()

    def add_module(self, module: torch.nn.Module) -> None:
        for name, child in module.named_modules():
            if self._is_new(child):
                self._write(f"module {name}")
                self._add_one_module(child)

    def add_globals(self, name: str) -> None:
        """Take the arrays and models in a loaded module into the digest."""
        for key, value in sorted(vars(sys.modules[name]).items()):
            if isinstance(value, (torch.Tensor, np.ndarray)) and self._is_new(value):
                self._write(f"global {name}.{key}")
                self._add_array(value)
            elif isinstance(value, torch.nn.Module) and self._is_new(value):
                self._write(f"global {name}.{key} {state_digest(value)}")

    def add(self, value: Any) -> None:  # noqa: ANN401 - whatever a model holds
        """Take any value into the digest."""
        if is_plain(value):
            self._write(plain_text(value))
        elif self._is_new(value):
            self._add_followed(value)

    def _add_followed(self, value: Any) -> None:  # noqa: ANN401 - see add
        followed: tuple[tuple[Any, Callable[[Any], None]], ...] = (
            (torch.nn.Module, self._add_foreign_module),
            ((torch.Tensor, np.ndarray, np.generic), self._add_array),
            (_TEXTS, self._add_text),
            (type, self._add_class_by_name),
            (ModuleType, self._add_imported),
            (FunctionType, self._add_function),
            ((BuiltinFunctionType, partial, MethodType, _CACHED_FUNCTION), self._add_callable),
            (logging.Logger, self._add_logger),
            ((re.Pattern, defaultdict, SimpleNamespace), self._add_known_parts),
        )
        for kinds, follow in followed:
            if isinstance(value, kinds):
                follow(value)
                return
        if type(value) in {*_SEQUENCES, *_SETS, *_MAPPINGS}:
            self._add_container(value)
            return
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            self._write(full_name(type(value)))
            self._add_container(value)
            return
        self._add_object(value)

    def _add_one_module(self, child: torch.nn.Module) -> None:
        if isinstance(child, torch.jit.ScriptModule):
            raise NotCacheable("the model is TorchScript, whose source cannot be found")
        hooked = [name for name in _HOOKS if vars(child).get(name)]
        for name, parameter in child.named_parameters(recurse=False):
            if getattr(parameter, "_backward_hooks", None):
                hooked.append(name)
        if hooked:
            raise NotCacheable(f"the model has hooks ({type(child).__name__}: {hooked[0]})")
        for kind in type(child).__mro__[:-1]:
            self._add_class(kind, runs="forward")
        own = vars(child).items()
        kept = {k: v for k, v in own if k not in _FOLLOWED_ELSEWHERE and "_hooks" not in k}
        self._add_pairs(kept.items())

    def _add_foreign_module(self, module: torch.nn.Module) -> None:
        """Add a module that is kept in an attribute, where the model's state does not show it."""
        del self._seen[id(module)]
        self._write(state_digest(module))
        self.add_module(module)

    def _add_array(self, value: Any) -> None:  # noqa: ANN401 - a tensor or an array
        if isinstance(value, torch.Tensor):
            if value.layout is not torch.strided or value.is_quantized:
                raise NotCacheable("the model keeps a sparse or quantised tensor as an attribute")
            self._write(tensor_digest(value))
            return
        array = np.asarray(value)
        if array.dtype.hasobject:
            raise NotCacheable("the model keeps an array of objects")
        self._write(f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}")

    def _add_text(self, value: object) -> None:
        self._write(f"{type(value).__name__} {value!r}")

    def _add_class(self, kind: type, runs: str = "") -> None:
        self._write(self._code.require_class(kind))
        if self._code.own(kind.__module__):
            for function in _written_functions(kind):
                self._add_code(function)
            self._add_pairs(_class_values(kind).items())
        forward = vars(kind).get(runs)
        if isinstance(forward, FunctionType):
            self._add_function(forward)

    def _add_class_by_name(self, kind: type) -> None:
        """Take a class that is held or named, not one whose objects are followed."""
        if not self._code.own(kind.__module__):
            self._write(full_name(kind))
            return
        for parent in kind.__mro__:
            if self._code.own(parent.__module__):
                self._add_class(parent)
            else:
                self._write(full_name(parent))

    def _add_logger(self, logger: logging.Logger) -> None:
        self._write(f"logger {logger.name}")

    def _add_known_parts(self, value: Any) -> None:  # noqa: ANN401 - objects in C of known parts
        self._write(full_name(type(value)))
        if isinstance(value, re.Pattern):
            self.add([value.pattern, value.flags])
        elif isinstance(value, SimpleNamespace):
            self._add_pairs(vars(value).items())
        else:
            self.add([value.default_factory, dict(value)])

    def _add_imported(self, module: ModuleType) -> None:
        self._write(f"import {module.__name__}")

    def _add_callable(self, value: Any) -> None:  # noqa: ANN401 - callables of three kinds
        if isinstance(value, partial):
            self.add([value.func, list(value.args), dict(value.keywords)])
        elif isinstance(value, MethodType):
            self.add([value.__func__, value.__self__])
        elif isinstance(value, _CACHED_FUNCTION):
            self.add(value.__wrapped__)
        else:
            self._write(f"{value.__module__}.{value.__qualname__}")
            owner = value.__self__
            if not isinstance(owner, (ModuleType, type, type(None))):
                self.add(owner)

    def _add_function(self, function: FunctionType) -> None:
        self._code.require_function(function)
        self._add_code(function)

    def _add_code(self, function: FunctionType) -> None:
        self._write(f"{function.__module__}.{function.__qualname__}")
        self._write(code_digest(function.__code__))
        self.add(list(function.__defaults__ or ()))
        self.add(dict(function.__kwdefaults__ or {}))
        kept = {k: v for k, v in vars(function).items() if k != "__wrapped__"}
        self._add_pairs(kept.items())
        for cell in function.__closure__ or ():
            try:
                self.add(cell.cell_contents)
            except ValueError:  # not filled yet
                self._write("empty")
        if self._code.own(str(function.__globals__.get("__name__"))):
            self._add_named(function.__globals__, names_in(function.__code__))

    def _add_named(
        self, place: Mapping[str, Any], names: frozenset[str], through: frozenset[str] = frozenset()
    ) -> None:
        """Take what a function names: in its module, and through it in other own modules."""
        module = str(place.get("__name__"))
        through |= {module}
        for name in sorted(names):
            # A function may import a module by itself.
            value = place.get(name, sys.modules.get(name) if self._code.own(name) else None)
            if isinstance(value, ModuleType):
                if self._code.own(value.__name__) and value.__name__ not in through:
                    self._add_named(vars(value), names, through)
            elif name in place and (module, name) not in self._named:
                self._named.add((module, name))
                self._write(f"named {module}.{name}")
                self._add_global(f"{module}.{name}", value)

    def _add_global(self, name: str, value: Any) -> None:  # noqa: ANN401 - see add
        try:
            self.add(value)
        except NotCacheable as error:
            where = "" if str(error).endswith(_NAMES_IT) else f": {name} is among what {_NAMES_IT}"
            raise NotCacheable(f"{error}{where}") from error

    def _add_container(self, value: Any) -> None:  # noqa: ANN401 - a container of any kind
        self._write(f"{type(value).__name__} {len(value)}")
        if isinstance(value, _MAPPINGS):
            for pair in value.items():
                for part in pair:
                    self.add(part)
            return
        if isinstance(value, _SETS):
            raise NotCacheable("the model keeps a set of objects, which has no order")
        for part in value:
            self.add(part)

    def _add_object(self, value: Any) -> None:  # noqa: ANN401 - an object of a class in Python
        for kind in type(value).__mro__[:-1]:
            self._add_class(kind)
            if kind.__flags__ & _IMMUTABLE or type(kind).__module__ == _BINDINGS:
                raise NotCacheable(f"what a {full_name(kind)} holds cannot be seen")
        slots = {
            name: getattr(value, name)
            for name, member in inspect.getmembers_static(type(value), inspect.ismemberdescriptor)
            if hasattr(value, name) and member is not None
        }
        self._add_pairs((slots | getattr(value, "__dict__", {})).items())

    def _add_pairs(self, pairs: Iterable[tuple[str, Any]]) -> None:
        for key, value in sorted(pairs, key=lambda pair: pair[0]):
            self._write(f"attribute {key}")
            self.add(value)

    def _is_new(self, value: object) -> bool:
        """Whether a value is met for the first time; else its number stands for it."""
        if id(value) in self._seen:
            self._write(f"again {self._seen[id(value)]}")
            return False
        self._seen[id(value)] = len(self._seen)
        self._alive.append(value)  # an id means nothing once its value is gone
        return True

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", errors="surrogatepass")
        self._digest.update(f"{len(data)}:".encode() + data)


def _written_functions(kind: type) -> Iterator[FunctionType]:
    """The functions of a class, but those that dataclasses make of its fields."""
    is_dataclass = "__dataclass_fields__" in vars(kind)
    for function in functions_in(kind):
        if not is_dataclass or inspect.unwrap(function).__code__.co_filename != "<string>":
            yield function


def _class_values(kind: type) -> dict[str, Any]:
    """What a class keeps beside its functions."""
    values = {}
    for key, value in vars(kind).items():
        held = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
        machinery = key.startswith("__") or key in _MACHINERY
        if machinery or holds_functions(value) or inspect.isdatadescriptor(held):
            continue
        values[key] = held
    return values


def _refuse_global_hooks() -> None:
    for name, value in vars(module_hooks).items():
        runs = name.startswith("_global_") and name.endswith("_hooks")
        if runs and "registration" not in name and value:
            raise NotCacheable("hooks are registered for all modules")
