"""The digest of what a model holds beside its tensors: everything is followed or refused."""

from __future__ import annotations

import importlib
import random
import sys
import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fgmf.caching.code import LoadedCode
from fgmf.caching.contents import contents_digest
from fgmf.errors import NotCacheable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Holder(nn.Module):
    """Holds anything."""

    def __init__(self, held: Any = None) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.held = held

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images)


class Settings:
    """An object of one's own."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.itself = self

    def wide(self) -> int:
        return self.width


class Slotted:
    """One without a dictionary."""

    __slots__ = ("width",)

    def __init__(self, width: int) -> None:
        self.width = width


def digest(module: nn.Module) -> str:
    return contents_digest(module, LoadedCode())


def closed(value: int) -> Callable[[], int]:
    return lambda: value


def first(x: int = 1) -> int:
    return x


def second(x: int = 1) -> int:
    return x + 1


PAIRS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "lists": (lambda: [1, 2], lambda: [2, 1]),
    "nested": (lambda: {"a": [torch.ones(1)]}, lambda: {"a": [torch.zeros(1)]}),
    "tensors": (lambda: torch.ones(3), lambda: torch.tensor([1.0, 1, 1 + 1e-6])),
    "arrays": (lambda: np.ones(3), lambda: np.ones((3, 1))),
    "numbers of numpy": (lambda: np.float32(1), lambda: np.float64(1)),
    "types of torch": (lambda: torch.float32, lambda: torch.float64),
    "functions": (lambda: first, lambda: second),
    "closures": (lambda: closed(1), lambda: closed(2)),
    "functions of torch": (lambda: functional.relu, lambda: functional.gelu),
    "functions in C": (lambda: torch.relu, lambda: torch.sigmoid),
    "partial": (lambda: partial(first, x=1), lambda: partial(first, x=2)),
    "objects": (lambda: Settings(1), lambda: Settings(2)),
    "slots": (lambda: Slotted(1), lambda: Slotted(2)),
    "methods": (lambda: Settings(1).wide, lambda: Settings(2).wide),
    "classes": (lambda: Settings, lambda: Slotted),
    "modules in a list": (lambda: [nn.Flatten(0)], lambda: [nn.Flatten(1)]),
    "deques": (lambda: deque([1]), lambda: deque([first])),
    "sizes": (lambda: torch.Size([1]), lambda: torch.Size([2])),
    "the order of keys": (lambda: {1: first, 2: second}, lambda: {2: second, 1: first}),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_what_a_model_holds_counts(pair: tuple[Callable[[], Any], Callable[[], Any]]) -> None:
    one, other = pair
    assert digest(Holder(one())) == digest(Holder(one()))
    assert digest(Holder(one())) != digest(Holder(other()))


def test_weights_of_a_module_in_a_list_count() -> None:
    torch.manual_seed(0)
    hidden = nn.Linear(2, 2)
    before = digest(Holder([hidden]))
    with torch.no_grad():
        hidden.weight += 1e-3
    assert digest(Holder([hidden])) != before


def test_layers_and_their_settings_count() -> None:
    digests = {
        digest(nn.Sequential(nn.ReLU())),
        digest(nn.Sequential(nn.GELU())),
        digest(nn.Sequential(nn.GELU(approximate="tanh"))),
        digest(nn.Sequential(nn.ReLU(), nn.ReLU())),
    }
    assert len(digests) == 4


def test_a_replaced_forward_counts() -> None:
    plain, replaced = Holder(), Holder()
    replaced.forward = first  # type: ignore[method-assign,assignment]
    assert digest(plain) != digest(replaced)


def test_a_model_that_holds_itself_comes_to_an_end() -> None:
    one, other = Holder(), Holder()
    one.held, other.held = [one], [other]
    assert digest(one) == digest(other)


def test_arrays_in_a_loaded_module_count(monkeypatch: pytest.MonkeyPatch) -> None:
    import tiny_models

    before = digest(Holder())
    monkeypatch.setattr(tiny_models, "TABLE", torch.ones(2), raising=False)
    with_table = digest(Holder())
    monkeypatch.setattr(tiny_models, "TABLE", torch.zeros(2))
    assert len({before, with_table, digest(Holder())}) == 3


SHOP = """
import collections, dataclasses, enum, functools, pathlib, re, types
import numpy as np
import torch
from tiny_setting import VALUE

{kept}

class Shop(torch.nn.Module):
    {member}

    def forward(self, images):
        return images * ({used})
"""
KEPT: dict[str, tuple[str, str]] = {
    "number of numpy": ("kept = np.float64(VALUE)", "kept"),
    "list of tensors": ("kept = [torch.tensor(VALUE)]", "kept[0]"),
    "dictionary of models": (
        "kept = {1: torch.nn.PReLU(init=VALUE)}",
        "kept[1](torch.tensor(-1.0))",
    ),
    "dataclass": (
        "@dataclasses.dataclass\nclass C:\n    v: float\nkept = C(VALUE)",
        "kept.v",
    ),
    "namespace": ("kept = types.SimpleNamespace(v=VALUE)", "kept.v"),
    "named tuple": ("kept = collections.namedtuple('kept', 'v')(VALUE)", "kept.v"),
    "default dictionary": ("kept = collections.defaultdict(float, v=VALUE)", "kept['v']"),
    "proxy": ("kept = types.MappingProxyType({'v': VALUE})", "kept['v']"),
    "value of a class": ("class kept:\n    v = torch.tensor(VALUE)", "kept.v"),
    "value of a parent": ("class C:\n    v = VALUE\nclass kept(C):\n    pass", "kept.v"),
    "members": ("class kept(enum.Enum):\n    v = VALUE", "kept.v.value"),
    "default of a function": ("def kept(v=VALUE):\n    return v", "kept()"),
    "named default": ("def kept(*, v=VALUE):\n    return v", "kept()"),
    "attribute of a function": ("def kept():\n    return kept.v\nkept.v = VALUE", "kept()"),
    "closure": ("def outer(v):\n    return lambda: v\nkept = outer(VALUE)", "kept()"),
    "function behind a function": (
        "deep = [VALUE]\ndef inner():\n    return deep[0]\ndef kept():\n    return inner()",
        "kept()",
    ),
    "cached function": ("@functools.lru_cache\ndef kept(v=VALUE):\n    return v", "kept()"),
    "partial": ("kept = functools.partial(max, VALUE)", "kept(0.0)"),
    "path": ("kept = pathlib.Path('x' * int(VALUE))", "len(str(kept))"),
    "pattern": ("kept = re.compile('x' * int(VALUE))", "len(kept.pattern)"),
    "another module": (
        "import tiny_setting\ntiny_setting.table = [np.float64(VALUE)]",
        "tiny_setting.table[0]",
    ),
    "a module's own import": (
        "import tiny_setting\ntiny_setting.table = [np.float64(VALUE)]\ndel tiny_setting\n"
        "def kept():\n    import tiny_setting\n    return tiny_setting.table[0]",
        "kept()",
    ),
}
MEMBERS = {
    "class attribute": ("v = torch.tensor(VALUE)", "self.v"),
    "number of numpy in a class": ("v = np.float64(VALUE)", "self.v"),
    "static": ("v = staticmethod(functools.partial(max, VALUE))", "self.v(0.0)"),
    "cached property": ("v = functools.cached_property(lambda self, v=VALUE: v)", "self.v"),
}
SHOPS = {
    **{
        name: SHOP.format(kept=kept, member="pass", used=used)
        for name, (kept, used) in KEPT.items()
    },
    **{name: SHOP.format(kept="", member=m, used=used) for name, (m, used) in MEMBERS.items()},
}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Any]:
    """Load a module whose source is the same whatever the value that it takes from another."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(source: str, value: str) -> Any:
        (tmp_path / "tiny_shop.py").write_text(source)
        (tmp_path / "tiny_setting.py").write_text("VALUE = 1.0\n")
        importlib.invalidate_caches()
        for name in ("tiny_setting", "tiny_shop"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        setting = importlib.import_module("tiny_setting")
        setting.VALUE = float(value)  # type: ignore[attr-defined]
        made = importlib.import_module("tiny_shop")
        # What is looked at is what the code names, not the plain values of every module.
        setting.VALUE = made.VALUE = 0.0  # type: ignore[attr-defined]
        return made

    return load


@pytest.mark.parametrize("source", SHOPS.values(), ids=SHOPS)
def test_what_its_code_names_counts(shop: Callable[[str, str], Any], source: str) -> None:
    def seen(value: str) -> tuple[float, str]:
        model = shop(source, value).Shop()
        key = digest(model)
        return float(torch.as_tensor(model(torch.ones(()))).detach()), key

    one, again, other = seen("1"), seen("1"), seen("2")
    assert one == again
    assert one[0] != other[0]
    assert one[1] != other[1]


@pytest.mark.parametrize(
    "kept",
    [
        "import threading\nkept = threading.local()",
        "import random\nkept = random.Random(0)",
        "import operator\nkept = operator.itemgetter(0)",
        "kept = iter([1])",
    ],
)
def test_what_its_code_names_and_hides_is_refused_by_name(
    shop: Callable[[str, str], Any], kept: str
) -> None:
    made = shop(SHOP.format(kept=f"{kept}\nunused = iter([1])", member="pass", used="kept"), "1")
    with pytest.raises(NotCacheable, match=r"tiny_shop\.kept is among what the model's code names"):
        digest(made.Shop())
    unused = shop(SHOP.format(kept=kept, member="pass", used="1"), "1")
    assert digest(unused.Shop())


def test_a_log_is_no_obstacle(shop: Callable[[str, str], Any]) -> None:
    kept = "import logging\nkept = logging.getLogger(__name__)"
    used = "kept.debug('x') or 1"
    assert digest(shop(SHOP.format(kept=kept, member="pass", used=used), "1").Shop())


def _executed() -> nn.Module:
    names: dict[str, Any] = {"Holder": Holder}
    exec("class Made(Holder):\n    def forward(self, x):\n        return x\n", names)  # noqa: S102
    made: nn.Module = names["Made"]()
    return made


def _hooked(register: str) -> nn.Module:
    module = Holder()
    getattr(module.layer, register)(lambda *_: None)
    return module


def _parameter_hook() -> nn.Module:
    module = Holder()
    module.layer.weight.register_hook(lambda gradient: gradient)
    return module


REFUSED: dict[str, Callable[[], nn.Module]] = {
    "a forward hook": lambda: _hooked("register_forward_hook"),
    "a hook before": lambda: _hooked("register_forward_pre_hook"),
    "a backward hook": lambda: _hooked("register_full_backward_hook"),
    "a hook of a parameter": _parameter_hook,
    "code from text": _executed,
    "torch.fx": lambda: torch.fx.symbolic_trace(Holder()),
    "a random generator": lambda: Holder(torch.Generator()),
    "Python's generator": lambda: Holder(random.Random(0)),
    "NumPy's generator": lambda: Holder(np.random.default_rng(0)),
    "a lock": lambda: Holder([threading.Lock()]),
    "an array of objects": lambda: Holder(np.array([object()])),
    "a sparse tensor": lambda: Holder(torch.eye(2).to_sparse()),
    "a set of objects": lambda: Holder({first}),
    "an iterator": lambda: Holder(iter([1])),
    "a generator": lambda: Holder(x for x in [1]),
    "a list of a kind": lambda: Holder(type("Mine", (list,), {})([1])),
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_what_hides_something_is_refused(make: Callable[[], nn.Module]) -> None:
    with pytest.raises(NotCacheable):
        digest(make())


def test_hooks_on_all_modules_are_refused() -> None:
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        with pytest.raises(NotCacheable, match="all modules"):
            digest(Holder())
    finally:
        handle.remove()
