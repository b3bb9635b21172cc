from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from fgmf.errors import FactoryFailed
from fgmf.running.factories import call_factory, importing_from

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    """Modules that a test imports are forgotten afterwards."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def call(directory: Path, factory: str, **arguments: Any) -> object:
    with importing_from(directory):
        return call_factory(f"model factory {factory!r}", factory, arguments, directory=directory)


def test_a_factory_gets_its_arguments(tmp_path: Path) -> None:
    (tmp_path / "fgmf_shop.py").write_text(
        "class Shop:\n    @staticmethod\n    def make(a, b=2): return a, b\n"
    )
    assert call(tmp_path, "fgmf_shop:Shop.make", a=1) == (1, 2)


def test_a_factory_in_a_package(tmp_path: Path) -> None:
    (tmp_path / "fgmf_shop").mkdir()
    (tmp_path / "fgmf_shop" / "model.py").write_text("def make(): return 'made'\n")
    assert call(tmp_path, "fgmf_shop.model:make") == "made"


def test_the_path_is_first_inside_and_gone_outside(tmp_path: Path) -> None:
    before = list(sys.path)
    with importing_from(tmp_path):
        assert sys.path == [str(tmp_path), *before]
    assert sys.path == before
    with pytest.raises(RuntimeError), importing_from(tmp_path):
        raise RuntimeError
    assert sys.path == before


@pytest.mark.parametrize(
    ("body", "factory", "words"),
    [
        ("", "fgmf_gone:make", "cannot be imported: ModuleNotFoundError: No module named"),
        ("", "fgmf_shop:make", "cannot be imported: AttributeError: .*'make'"),
        ("1 / 0", "fgmf_shop:make", "cannot be imported: ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(0)", "fgmf_shop:make", "cannot be imported: SystemExit: 0"),
        ("make = 3", "fgmf_shop:make", "raised TypeError: 'int' object is not callable"),
        ("def make(): return None", "fgmf_shop:make", "returned None"),
        ("def make(): assert 0", "fgmf_shop:make", "raised AssertionError: no message"),
        ("def make(): raise ValueError('a\\n b')", "fgmf_shop:make", "raised ValueError: a b"),
        ("def make(x): return x", "fgmf_shop:make", "raised TypeError: .*missing 1 required"),
        ("def make(): raise SystemExit(0)", "fgmf_shop:make", "raised SystemExit: 0"),
    ],
)
def test_every_way_to_fail_names_the_factory(
    tmp_path: Path, body: str, factory: str, words: str
) -> None:
    (tmp_path / "fgmf_shop.py").write_text(body + "\n")
    with pytest.raises(FactoryFailed, match=f"^model factory '{factory}' {words}") as caught:
        call(tmp_path, factory)
    assert "\n" not in str(caught.value)


def test_an_interrupt_passes_through(tmp_path: Path) -> None:
    (tmp_path / "fgmf_shop.py").write_text("def make(): raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        call(tmp_path, "fgmf_shop:make")


@pytest.mark.parametrize("package", [False, True])
def test_a_module_of_the_same_name_from_elsewhere_is_refused(tmp_path: Path, package: bool) -> None:
    for name in ("first", "second"):
        place = tmp_path / name / "fgmf_shop" if package else tmp_path / name
        place.mkdir(parents=True)
        (place / "fgmf_shop.py").write_text(f"def make(): return {name!r}\n")
    factory = "fgmf_shop.fgmf_shop:make" if package else "fgmf_shop:make"
    assert call(tmp_path / "first", factory) == "first"
    with pytest.raises(FactoryFailed, match=r"was already imported from .*first"):
        call(tmp_path / "second", factory)
    assert call(tmp_path / "first", factory) == "first"


def test_an_installed_module_needs_no_file_beside_the_gates(tmp_path: Path) -> None:
    assert call(tmp_path, "fractions:Fraction", numerator=1) == 1
