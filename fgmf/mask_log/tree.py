"""Merkle trees as RFC 6962 hashes them: roots in a stream's memory, and proofs.

    leaf(d)        = SHA-256(0x00 || d)
    node(l, r)     = SHA-256(0x01 || l || r)
    root of none   = SHA-256()
    root of n      = node(root of the first k, root of the rest), k the largest power of two < n

A growing tree is its *frontier*: the roots of the perfect subtrees that it is made of, one per set
bit of its size. Appending merges as binary addition carries::

    append(h):  while the lowest bit of size is set: h = node(pop, h); size >>= 1
                push h
    root:       fold the frontier from the right

Source: RFC 6962 section 2.1, RFC 9162 section 2.1 (the same hashing).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256().digest()
_sha256 = hashlib.sha256


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf, 32 bytes."""
    return _sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node of two hashes, 32 bytes."""
    return _sha256(b"\x01" + left + right).digest()


class Frontier:
    """A growing tree, kept as the roots of its perfect subtrees.

    Attributes:
        size: Number of leaves.
        peaks: Roots of the perfect subtrees, the largest first: at most log2(size) + 1.
    """

    __slots__ = ("peaks", "size")

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        """Start empty, or from a tree that was kept.

        Args:
            size: Number of leaves.
            peaks: As many hashes as `size` has set bits.
        """
        self.size = size
        self.peaks = list(peaks)

    def append(self, leaf: bytes) -> None:
        """Add the hash of one leaf. Cost: two hashes on average."""
        size = self.size
        while size & 1:
            leaf = _sha256(b"\x01" + self.peaks.pop() + leaf).digest()
            size >>= 1
        self.peaks.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """Return the root of the tree. Cost: at most log2(size) hashes."""
        if not self.peaks:
            return EMPTY_ROOT
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root

    def copy(self) -> Frontier:
        """Return a tree that grows on its own."""
        return Frontier(self.size, self.peaks)


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root over the hashes of all leaves.

    Level by level, an odd hash at the end moves up as it is: the same tree as the RFC's recursion.
    """
    if not leaves:
        return EMPTY_ROOT
    level = list(leaves)
    while len(level) > 1:
        above = [
            _sha256(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)
        ]
        if len(level) & 1:
            above.append(level[-1])
        level = above
    return level[0]


def inclusion_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the hashes that lead from one leaf to the root, the lowest first.

    Args:
        leaves: Hashes of all leaves.
        index: Position of the leaf, from 0.

    Source: RFC 6962 section 2.1.1.
    """
    path = []
    level = list(leaves)
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        above = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) & 1:
            above.append(level[-1])
        level, index = above, index >> 1
    return path


def consistency_path(leaves: Sequence[bytes], earlier: int) -> list[bytes]:
    """Return the hashes that show the first `earlier` leaves to be a prefix of all leaves.

    Args:
        leaves: Hashes of all leaves of the later tree.
        earlier: Size of the earlier tree, at most the number of leaves; 0 needs no hashes.

    Source: RFC 6962 section 2.1.2.
    """
    if earlier in {0, len(leaves)}:
        return []
    return _subproof(earlier, leaves, whole=True)


def _subproof(earlier: int, leaves: Sequence[bytes], *, whole: bool) -> list[bytes]:
    size = len(leaves)
    if earlier == size:
        return [] if whole else [root_of(leaves)]
    split = 1 << ((size - 1).bit_length() - 1)
    if earlier <= split:
        below = _subproof(earlier, leaves[:split], whole=whole)
        return [*below, root_of(leaves[split:])]
    below = _subproof(earlier - split, leaves[split:], whole=False)
    return [*below, root_of(leaves[:split])]
