"""Random subsets: as many features as asked for, each subset as likely as any other."""

from __future__ import annotations

import numpy as np

from fgmf.faithfulness.subsets import smallest


def test_the_smallest_numbers_are_marked() -> None:
    numbers = np.random.default_rng(0).integers(2**32, size=(50, 30), dtype=np.uint32)
    chosen = smallest(numbers, 7)
    assert (chosen.sum(axis=1) == 7).all()
    highest = np.where(chosen, numbers, 0).max(axis=1)
    lowest = np.where(chosen, np.uint32(2**32 - 1), numbers).min(axis=1)
    assert (highest < lowest).all()


def test_numbers_drawn_twice_make_no_subset_larger() -> None:
    numbers = np.array([[5, 3, 3, 3, 1, 9], [2, 2, 2, 2, 2, 2], [6, 5, 4, 3, 2, 1]], np.uint32)
    chosen = smallest(numbers, 3)
    assert (chosen.sum(axis=1) == 3).all()
    assert chosen[0, 4]
    assert not chosen[0, [0, 5]].any()
    assert chosen[2].tolist() == [False] * 3 + [True] * 3
