"""Pictures that verdicts carry in their evidence: read with suspicion, shown tile by tile.

Only PNG in base64 comes through, each tile and the page bounded; words are printable, and the
template escapes them.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fgmf.reporting.evidence import integer_of, records_of, text_of, texts_of
from fgmf.reporting.pictures import PNG_SIGNATURE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fgmf.types import Json
    from fgmf.verdict import Verdict

MOST_CHARACTERS: Final = 4 * 2**20
"""Of the tiles of all gates together."""
_MOST_PICTURES, _MOST_ROWS, _MOST_TILES = 8, 16, 12


@dataclass(frozen=True, kw_only=True)
class GalleryRow:
    """One image: words, and for each tile what it is and its address."""

    caption: str
    tiles: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """One picture of a gate.

    Attributes:
        title: Above it.
        hint: How its tiles are read.
        rows: At least one.
        left_out: Rows that had no room, here or where it was made.
    """

    title: str
    hint: str
    rows: tuple[GalleryRow, ...]
    left_out: int


def galleries_of(verdicts: Sequence[Verdict]) -> list[list[Gallery]]:
    """Return the pictures of each verdict, until the page is full.

    Args:
        verdicts: In the order in which they are shown.
    """
    reader = _Reader()
    return [
        [
            gallery
            for entry in records_of(verdict.evidence, "pictures")[:_MOST_PICTURES]
            if (gallery := reader.gallery(entry)) is not None
        ]
        for verdict in verdicts
    ]


class _Reader:
    """Counts what the page has room for."""

    def __init__(self) -> None:
        self._left = MOST_CHARACTERS

    def gallery(self, entry: Mapping[str, Json]) -> Gallery | None:
        columns = texts_of(entry, "columns")
        written = records_of(entry, "rows")
        rows = [
            row for found in written[:_MOST_ROWS] if (row := self._row(found, columns)) is not None
        ]
        if not rows:
            return None
        before = integer_of(entry, "left_out") or 0
        return Gallery(
            title=text_of(entry, "title"),
            hint=text_of(entry, "hint"),
            rows=tuple(rows),
            left_out=max(0, before) + len(written) - len(rows),
        )

    def _row(self, entry: Mapping[str, Json], columns: Sequence[str]) -> GalleryRow | None:
        tiles = texts_of(entry, "tiles")
        size = sum(map(len, tiles))
        fits = 0 < len(tiles) == len(columns) <= _MOST_TILES and size <= self._left
        if not fits or not all(map(_is_png, tiles)):
            return None
        self._left -= size
        addresses = (f"data:image/png;base64,{tile}" for tile in tiles)
        return GalleryRow(
            caption=text_of(entry, "caption"), tiles=tuple(zip(columns, addresses, strict=True))
        )


def _is_png(text: str) -> bool:
    try:
        return base64.b64decode(text, validate=True).startswith(PNG_SIGNATURE)
    except (binascii.Error, ValueError):
        return False
