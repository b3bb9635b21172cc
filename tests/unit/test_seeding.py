from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fgmf.seeding import DEFAULT_RUN_SEED, derive_seed, image_generator, isolated_randomness

seeds = st.integers(0, 2**63 - 1)
names = st.lists(st.text(max_size=8) | st.integers(), max_size=4)


def _draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002


def test_the_run_seed_is_fixed() -> None:
    assert DEFAULT_RUN_SEED == 0


def test_a_derived_seed_is_the_same_for_ever() -> None:
    assert derive_seed(0, "robustness") == 2165530527


@given(seeds, names)
def test_a_derived_seed_fits_every_generator(seed: int, name: list[str | int]) -> None:
    derived = derive_seed(seed, *name)
    assert 0 <= derived < 2**32
    assert derived == derive_seed(seed, *name)


@given(seeds, names, names)
def test_other_names_give_other_seeds(
    seed: int, first: list[str | int], second: list[str | int]
) -> None:
    assert (derive_seed(seed, *first) == derive_seed(seed, *second)) is (first == second)


@pytest.mark.parametrize(
    ("first", "second"),
    [(("ab", "c"), ("a", "bc")), (("a", ""), ("a",)), (("1",), (1,)), ((1, 2), (12,))],
)
def test_names_do_not_run_together(
    first: tuple[str | int, ...], second: tuple[str | int, ...]
) -> None:
    assert derive_seed(0, *first) != derive_seed(0, *second)


def test_seeds_of_images_are_unrelated() -> None:
    """Bits of the seeds of neighbours agree as often as coins do."""
    bits = np.array([[derive_seed(0, "gate", i) >> b & 1 for b in range(32)] for i in range(400)])
    # 32 coins of 400 throws: the largest deviation is beyond 5 sigma with p < 2e-5.
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 5 * 0.5 / np.sqrt(400)
    assert np.abs((bits[1:] == bits[:-1]).mean(axis=0) - 0.5).max() < 5 * 0.5 / np.sqrt(399)


def test_a_generator_depends_on_its_names_alone() -> None:
    first = image_generator(7, "image-3", "pgd", 1)
    image_generator(7, "image-4", "pgd", 1).random(100)
    again = image_generator(7, "image-3", "pgd", 1)
    other = image_generator(7, "image-3", "pgd", 2)
    expected = first.random(5)
    assert np.array_equal(again.random(5), expected)
    assert not np.array_equal(other.random(5), expected)


def test_inside_the_draws_are_fixed_by_the_seed() -> None:
    with isolated_randomness(5):
        first = _draws()
    with isolated_randomness(5):
        assert _draws() == first
    with isolated_randomness(6):
        assert _draws() != first


def test_any_derived_seed_is_accepted() -> None:
    with isolated_randomness(2**63 - 1):
        _draws()


def test_outside_nobody_notices() -> None:
    with isolated_randomness(1):
        first, second = _draws(), _draws()
    with isolated_randomness(1):
        assert _draws() == first
        with isolated_randomness(99):
            _draws()
        assert _draws() == second


def test_the_state_comes_back_after_an_error() -> None:
    with isolated_randomness(1):
        first, second = _draws(), _draws()
    with isolated_randomness(1):
        assert _draws() == first
        with pytest.raises(ZeroDivisionError), isolated_randomness(99):
            1 / (_draws() is None)
        assert _draws() == second


def test_a_cached_normal_draw_comes_back_too() -> None:
    """Box-Muller makes two at a time; the second is state as well."""
    with isolated_randomness(1):
        random.gauss(0, 1)
        second = random.gauss(0, 1)
    with isolated_randomness(1):
        random.gauss(0, 1)
        with isolated_randomness(2):
            random.gauss(0, 1)
        assert random.gauss(0, 1) == second
