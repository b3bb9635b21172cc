"""Hypothesis' database, with failures of each search under a name of its own.

Hypothesis names failures by the code of the test function. All searches run the same function here,
so each gets its own keys: by the running test and the strategy.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from hypothesis.database import ExampleDatabase

if TYPE_CHECKING:
    from collections.abc import Iterable


class NamedDatabase(ExampleDatabase):
    """Another database, every key of which begins with the name of a search.

    Args:
        database: Where examples lie.
        name: Of the search.
    """

    def __init__(self, database: ExampleDatabase, name: str) -> None:
        super().__init__()
        self._database = database
        self._prefix = hashlib.sha256(name.encode()).digest()[:16]

    def save(self, key: bytes, value: bytes) -> None:
        """Save an example."""
        self._database.save(self._prefix + key, value)

    def fetch(self, key: bytes) -> Iterable[bytes]:
        """Return the examples under a key."""
        return self._database.fetch(self._prefix + key)

    def delete(self, key: bytes, value: bytes) -> None:
        """Forget an example."""
        self._database.delete(self._prefix + key, value)

    def move(self, src: bytes, dest: bytes, value: bytes) -> None:
        """Move an example to another key."""
        self._database.move(self._prefix + src, self._prefix + dest, value)
