"""Merkle trees as the recursion of RFC 6962 is written, slow and obvious."""

from __future__ import annotations

from hashlib import sha256


def slow_root(entries: list[bytes]) -> bytes:
    """MTH(D[n])."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    k = split_of(len(entries))
    return sha256(b"\x01" + slow_root(entries[:k]) + slow_root(entries[k:])).digest()


def slow_path(m: int, entries: list[bytes]) -> list[bytes]:
    """PATH(m, D[n])."""
    n = len(entries)
    if n == 1:
        return []
    k = split_of(n)
    if m < k:
        return [*slow_path(m, entries[:k]), slow_root(entries[k:])]
    return [*slow_path(m - k, entries[k:]), slow_root(entries[:k])]


def slow_proof(m: int, entries: list[bytes]) -> list[bytes]:
    """PROOF(m, D[n])."""
    return _subproof(m, entries, b=True)


def split_of(n: int) -> int:
    """The largest power of two smaller than n."""
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def _subproof(m: int, entries: list[bytes], *, b: bool) -> list[bytes]:
    n = len(entries)
    if m == n:
        return [] if b else [slow_root(entries)]
    k = split_of(n)
    if m <= k:
        return [*_subproof(m, entries[:k], b=b), slow_root(entries[k:])]
    return [*_subproof(m - k, entries[k:], b=False), slow_root(entries[:k])]
