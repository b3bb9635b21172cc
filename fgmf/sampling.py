"""Which images are looked at: samples that keep every class's share, and depend on a seed alone."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from fgmf.errors import InvalidInput
from fgmf.seeding import derive_seed

if TYPE_CHECKING:
    from collections.abc import Sequence


def stratified_sample(labels: Sequence[int], *, count: int, seed: int) -> list[int]:
    """Choose `count` positions so that every class keeps its share.

    Args:
        labels: (n,) class of each position.
        count: How many positions; n or more returns all.
        seed: Fixes the choice.

    Returns:
        Sorted positions, none twice. Each class gets its proportional number rounded down or
        up (largest remainder); a larger sample with the same seed mostly extends a smaller one.

    Raises:
        InvalidInput: No labels, or a count below one.

    Randomness: positions are ranked, and equal remainders ordered, by a hash of the seed and
        the position or class: independent of library versions and of call order.
    """
    classes = [int(label) for label in labels]
    if not classes:
        raise InvalidInput("expected at least one label to sample from, got none")
    if count < 1:
        raise InvalidInput(f"expected a sample of at least one image, got count={count}")
    if count >= len(classes):
        return list(range(len(classes)))
    quotas = _quotas(Counter(classes), count, seed)
    members: dict[int, list[int]] = {label: [] for label in quotas}
    for position, label in enumerate(classes):
        members[label].append(position)
    chosen: list[int] = []
    for label, quota in quotas.items():
        ranked = sorted(members[label], key=lambda i: (derive_seed(seed, "sample", i), i))
        chosen += ranked[:quota]
    return sorted(chosen)


def _quotas(sizes: Counter[int], count: int, seed: int) -> dict[int, int]:
    total = sizes.total()
    quotas = {label: count * size // total for label, size in sizes.items()}

    def rank(label: int) -> tuple[int, int]:
        return -(count * sizes[label] % total), derive_seed(seed, "remainder", label)

    for label in sorted(sizes, key=rank)[: count - sum(quotas.values())]:
        quotas[label] += 1
    return quotas
