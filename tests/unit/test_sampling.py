"""Samples that keep the shares of the classes."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgmf.errors import InvalidInput
from fgmf.sampling import stratified_sample

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=120)


class TestStratifiedSample:
    """Samples that keep the shares of the classes."""

    @given(labels=LABELS, count=st.integers(1, 130), seed=st.integers(0, 2**40))
    def test_every_class_keeps_its_share(self, labels: list[int], count: int, seed: int) -> None:
        """Sorted positions, none twice, each class within one of its proportional number."""
        chosen = stratified_sample(labels, count=count, seed=seed)
        assert chosen == sorted(set(chosen))
        assert len(chosen) == min(count, len(labels))
        assert chosen == stratified_sample(labels, count=count, seed=seed)
        sizes, taken = Counter(labels), Counter(labels[i] for i in chosen)
        for label, size in sizes.items():
            exact = Fraction(len(chosen) * size, len(labels))
            assert math.floor(exact) <= taken[label] <= math.ceil(exact)

    @given(labels=LABELS, count=st.integers(1, 130))
    def test_the_largest_remainders_get_the_rest(self, labels: list[int], count: int) -> None:
        """No class is rounded down that has a larger remainder than one rounded up."""
        chosen = stratified_sample(labels, count=count, seed=1)
        taken = Counter(labels[i] for i in chosen)
        up: list[Fraction] = []
        down: list[Fraction] = []
        for label, size in Counter(labels).items():
            remainder = Fraction(len(chosen) * size, len(labels)) % 1
            if remainder:
                (up if taken[label] > len(chosen) * size // len(labels) else down).append(remainder)
        assert min(up, default=Fraction(1)) >= max(down, default=Fraction(0))

    def test_seeds_differ(self) -> None:
        """Another seed gives another sample, and settles ties between classes differently."""
        labels = [0, 1, 2, 3] * 25
        samples = {tuple(stratified_sample(labels, count=10, seed=seed)) for seed in range(20)}
        assert len(samples) == 20
        doubled = {tuple(sorted(Counter(labels[i] for i in sample).items())) for sample in samples}
        assert len(doubled) > 1

    def test_each_position_is_equally_likely(self) -> None:
        """Over many seeds no position is favoured (binomial, 6 standard errors)."""
        labels = [0] * 20 + [1] * 10
        hits = Counter(
            i for seed in range(3000) for i in stratified_sample(labels, count=15, seed=seed)
        )
        spread = 6 * math.sqrt(3000 * 0.25)
        assert all(abs(hits[i] - 1500) < spread for i in range(30))

    def test_known_sample(self) -> None:
        """The sample of a seed never changes: reports and replays rest on it."""
        assert stratified_sample([0, 1] * 10, count=6, seed=7) == [2, 4, 7, 8, 9, 15]

    def test_no_labels_and_no_images_are_refused(self) -> None:
        """A sample of nothing measures nothing."""
        with pytest.raises(InvalidInput, match="at least one label"):
            stratified_sample([], count=5, seed=0)
        with pytest.raises(InvalidInput, match="at least one image, got count=0"):
            stratified_sample([1, 2], count=0, seed=0)
