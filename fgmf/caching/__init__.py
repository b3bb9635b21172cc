"""Outcomes per image on disk, so that what has not changed is not attacked again.

    `code`, `contents`   digests of the code and of everything else that a model consists of
    `conditions`         the key of a run: all that could change an outcome
    `shards`             files of outcomes: sealed, checked when read, oldest removed first
    `outcomes`           the cache that a robustness measurement asks and leaves outcomes to

A cache changes what a run costs, never what it reports. Where it cannot be sure of that, it is not
used and says why.
"""

from __future__ import annotations

from fgmf.caching.outcomes import DiskCache, open_cache

__all__ = ["DiskCache", "open_cache"]
