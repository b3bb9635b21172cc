"""Digests of loaded code, and versions: what changes them and what does not."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING

import pytest

from fgmf.caching import code as loaded
from fgmf.caching.code import LoadedCode, code_digest, package_digest, plain_text
from fgmf.errors import NotCacheable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SOURCE = """
import helper_of_cached_model
LIMIT = 3
NAMES = {"b", "a"}

class Reader:
    scale = 2
    def read(self, x):
        return x * self.scale + LIMIT

def other(x, y=1):
    return [x, y, "text", (1, 2.5), {3, 4}]
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Write and load a module of one's own and the helper that it imports; return their digests."""
    monkeypatch.syspath_prepend(tmp_path)
    names = ("cached_model_source", "helper_of_cached_model")

    def load(source: str = SOURCE, helper: str = "VALUE = 1\n") -> str:
        for name, text in zip(names, (source, helper), strict=True):
            (tmp_path / f"{name}.py").write_text(text)
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        sys.dont_write_bytecode = True
        importlib.import_module(names[0])
        sources = LoadedCode().sources
        return f"{sources[names[0]]} {sources[names[1]]}"

    before = sys.dont_write_bytecode
    yield load
    sys.dont_write_bytecode = before
    for name in names:
        sys.modules.pop(name, None)


def test_the_same_source_has_the_same_digest_in_every_place_and_process(
    own: Callable[..., str], tmp_path: Path
) -> None:
    here = own()
    assert own() == here
    elsewhere = tmp_path / "deeper"
    elsewhere.mkdir()
    for name in ("cached_model_source.py", "helper_of_cached_model.py"):
        (elsewhere / name).write_text((tmp_path / name).read_text())
    script = elsewhere / "main.py"
    script.write_text(
        "import cached_model_source\nfrom fgmf.caching.code import LoadedCode\n"
        "s = LoadedCode().sources\n"
        "print(s['cached_model_source'], s['helper_of_cached_model'], sorted(s))\n"
    )
    for seed in ("1", "2"):  # the order of sets differs with it
        ended = subprocess.run(
            [sys.executable, str(script)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        )
        assert ended.stdout.startswith(here)
        assert "'__main__', 'cached_model_source', 'helper_of_cached_model']" in ended.stdout


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x * self", "x + self"),
        ("scale = 2", "scale = 3"),
        ("y=1", "y=2"),
        ("LIMIT = 3", "LIMIT = 4"),
    ],
)
def test_another_source_has_another_digest(own: Callable[..., str], old: str, new: str) -> None:
    assert own() != own(SOURCE.replace(old, new))


def test_a_helper_counts_as_well(own: Callable[..., str]) -> None:
    assert own() != own(helper="VALUE = 2\n")


def test_what_is_loaded_counts_not_only_what_lies_on_the_disk(own: Callable[..., str]) -> None:
    before = own()
    module = sys.modules["cached_model_source"]
    module.LIMIT = 4  # type: ignore[attr-defined]
    changed = LoadedCode().sources["cached_model_source"]
    assert changed not in before
    module.LIMIT = 3  # type: ignore[attr-defined]
    assert LoadedCode().sources["cached_model_source"] in before
    module.Reader.read = lambda self, x: x  # type: ignore[attr-defined]
    assert LoadedCode().sources["cached_model_source"] not in before


def test_a_source_that_is_gone_cannot_be_told_apart(
    own: Callable[..., str], tmp_path: Path
) -> None:
    own()
    (tmp_path / "helper_of_cached_model.py").unlink()
    with pytest.raises(NotCacheable, match="helper_of_cached_model cannot be read"):
        LoadedCode()


def test_distributions_and_the_standard_library_go_by_version(own: Callable[..., str]) -> None:
    own()
    sources = LoadedCode().sources
    foreign = {"torch", "numpy", "json", "os", "pytest", "fgmf", "pytest_fgmf", "_pytest"}
    assert not {name.partition(".")[0] for name in sources} & foreign


def test_versions_are_those_of_what_is_named_and_of_what_that_requires(
    own: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own()
    plain = LoadedCode().versions()
    assert str(plain["torch"]).split()[0] == metadata.version("torch")
    assert {"numpy", "foolbox", "eagerpy", "sympy"} <= plain.keys()  # sympy: torch requires it
    found = metadata.distribution

    def newer(name: str) -> metadata.Distribution:
        distribution = found(name)
        if name == "sympy":
            monkeypatch.setattr(type(distribution), "version", property(lambda self: "99"))
        return distribution

    monkeypatch.setattr(loaded.metadata, "distribution", newer)
    assert LoadedCode().versions() != plain


def install(place: Path, *, source: str, record: str, installer: bool = True) -> None:
    """Put a package where `pip install --target` would."""
    facts = place / "shop_of_cached_model-1.0.dist-info"
    facts.mkdir(parents=True, exist_ok=True)
    (place / "shop_of_cached_model.py").write_text(source)
    (facts / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: shop-of-cached-model\nVersion: 1.0\n"
    )
    (facts / "RECORD").write_text(f"shop_of_cached_model.py,sha256={record},9\n")
    if installer:
        (facts / "INSTALLER").write_text("pip\n")


@pytest.mark.parametrize("installer", [True, False])
def test_what_is_installed_elsewhere_is_a_distribution_as_well(
    own: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, installer: bool
) -> None:
    place = tmp_path / "elsewhere"
    install(place, source="VALUE = 1\n", record="abc", installer=installer)
    monkeypatch.syspath_prepend(place)
    own(SOURCE.replace("import helper", "import shop_of_cached_model\nimport helper"))
    code = LoadedCode()
    assert ("shop_of_cached_model" in code.sources) is not installer
    before = code.versions()
    assert str(before["shop-of-cached-model"]).startswith("1.0 ")
    # The same version, built and installed again.
    install(place, source="VALUE = 2\n", record="abd", installer=installer)
    assert LoadedCode().versions() != before
    monkeypatch.delitem(sys.modules, "shop_of_cached_model")


def test_own_code_stays_own_where_something_was_installed_beside_it(
    own: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, source="VALUE = 1\n", record="abc")
    with pytest.raises(KeyError):  # from another directory it is one of the distributions there
        own()
    monkeypatch.chdir(tmp_path)
    assert own()


def test_a_distribution_that_a_function_imports_counts(
    own: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    owners = {"only_named_here": ["hypothesis"]}
    monkeypatch.setattr(loaded.metadata, "packages_distributions", lambda: owners)
    own()
    assert LoadedCode().versions() == {}
    own(SOURCE + "def f():\n    import only_named_here\n")
    version, _ = str(LoadedCode().versions()["hypothesis"]).split()
    assert version == metadata.version("hypothesis")


def test_the_package_has_one_digest() -> None:
    assert package_digest() == package_digest()


def test_comments_and_lines_do_not_change_code() -> None:
    texts = "def f(x):\n    return x + 1\n", "\n\n# a\ndef f(x):\n    # b\n    return x + 1\n"
    one, two = (
        compile(text, name, "exec").co_consts[0] for name, text in zip("ab", texts, strict=True)
    )
    assert code_digest(one) == code_digest(two)
    other = compile("def f(x):\n    return x + 2\n", "a", "exec").co_consts[0]
    assert code_digest(one) != code_digest(other)


def test_plain_values_are_told_apart() -> None:
    values = [1, 1.0, True, "1", b"1", (1,), [1], {1}, frozenset({1}), {1: 1}, None, -0.0, 0.0]
    assert len({plain_text(value) for value in values}) == len(values)
    assert plain_text({"a", "b", "c"}) == plain_text({"c", "b", "a"})
