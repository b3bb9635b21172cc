from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgmf.mask_log.tree import (
    EMPTY_ROOT,
    Frontier,
    consistency_path,
    inclusion_path,
    leaf_hash,
    root_of,
)

_PATH = Path(__file__).parents[2] / "oracles" / "slow_merkle.py"
_SPEC = importlib.util.spec_from_file_location("slow_merkle", _PATH)
slow = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(slow)

# The vectors of the Certificate Transparency reference code: entries, roots over the first n.
ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
H01 = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
H0 = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
H1 = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
H4567 = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
H4 = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
H67 = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
H45 = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"


def _leaves(count: int) -> list[bytes]:
    return [leaf_hash(entry) for entry in ENTRIES[:count]]


@pytest.mark.parametrize("count", range(9))
def test_roots_are_those_of_certificate_transparency(count: int) -> None:
    assert root_of(_leaves(count)).hex() == ROOTS[count]
    tree = Frontier()
    for leaf in _leaves(count):
        tree.append(leaf)
    assert tree.root().hex() == ROOTS[count]
    assert len(tree.peaks) == count.bit_count()


@pytest.mark.parametrize(
    ("index", "count", "path"),
    [
        (0, 1, []),
        (0, 8, [H1, H01, H4567]),
        (5, 8, [H4, H67, ROOTS[4]]),
        (2, 3, [ROOTS[2]]),
        (1, 5, [H0, H01, H4]),
    ],
)
def test_inclusion_paths_are_those_of_certificate_transparency(
    index: int, count: int, path: list[str]
) -> None:
    assert [entry.hex() for entry in inclusion_path(_leaves(count), index)] == path


@pytest.mark.parametrize(
    ("earlier", "count", "path"),
    [(1, 1, []), (1, 8, [H1, H01, H4567]), (6, 8, [H45, H67, ROOTS[4]]), (2, 5, [H01, H4])],
)
def test_consistency_paths_are_those_of_certificate_transparency(
    earlier: int, count: int, path: list[str]
) -> None:
    assert [entry.hex() for entry in consistency_path(_leaves(count), earlier)] == path


@given(entries=st.lists(st.binary(max_size=4), max_size=70), data=st.data())
def test_the_tree_agrees_with_the_recursion_of_the_rfc(
    entries: list[bytes], data: st.DataObject
) -> None:
    leaves = [leaf_hash(entry) for entry in entries]
    tree = Frontier()
    for leaf in leaves:
        tree.append(leaf)
    assert root_of(leaves) == tree.root() == slow.slow_root(entries)
    if entries:
        index = data.draw(st.integers(0, len(entries) - 1))
        assert inclusion_path(leaves, index) == slow.slow_path(index, entries)
        earlier = data.draw(st.integers(1, len(entries)))
        assert consistency_path(leaves, earlier) == slow.slow_proof(earlier, entries)


def test_a_tree_goes_on_from_its_frontier() -> None:
    tree = Frontier()
    for leaf in _leaves(5):
        tree.append(leaf)
    taken_up = Frontier(tree.size, tree.peaks)
    for leaf in _leaves(8)[5:]:
        taken_up.append(leaf)
    assert taken_up.root().hex() == ROOTS[8]
    assert tree.root().hex() == ROOTS[5]
    assert EMPTY_ROOT.hex() == ROOTS[0]
