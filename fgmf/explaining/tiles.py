"""Pictures as plain data: rows of small PNG tiles with their words, for the evidence of verdicts.

Verdicts cross processes as JSON, and a report draws nothing by itself; so whoever measures makes
the tiles. They are kept small: large images are shrunk, and rows that would make a picture larger
than its bound are left out and counted.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fgmf.types import Json

    Floats = NDArray[np.float64]

LARGEST_SIDE: Final = 96
"""Pixels; larger tiles are shrunk."""
MOST_CHARACTERS: Final = 200_000
"""Of the tiles of one picture, as they stand in JSON."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TileRow:
    """One row: words, and tiles (h, w, 3) or (h, w) in [0, 1]."""

    caption: str
    tiles: Sequence[Floats]


def tiled_picture(
    title: str, columns: Sequence[str], rows: Sequence[TileRow], *, hint: str = ""
) -> dict[str, Json]:
    """Return a picture for the evidence `pictures` of a verdict.

    Args:
        title: Above it.
        columns: What each tile of a row is.
        rows: In the order in which they are shown.
        hint: How the tiles are read.

    Returns:
        `title`, `hint`, `columns`, `rows` (each `caption` and `tiles`, PNG in base64), and
        `left_out`: how many rows had no room.
    """
    shown: list[Json] = []
    left = MOST_CHARACTERS
    for row in rows:
        tiles: list[Json] = [*map(encoded_tile, row.tiles)]
        left -= sum(len(str(tile)) for tile in tiles)
        if left < 0:
            break
        shown.append({"caption": row.caption, "tiles": tiles})
    return {
        "title": title,
        "hint": hint,
        "columns": list(columns),
        "rows": shown,
        "left_out": len(rows) - len(shown),
    }


def encoded_tile(values: Floats) -> str:
    """Return a tile (h, w, 3) or (h, w) with values in [0, 1] as a PNG in base64."""
    from PIL import Image

    pixels = Image.fromarray(np.rint(np.nan_to_num(values).clip(0, 1) * 255).astype(np.uint8))
    longest = max(pixels.size)
    if longest > LARGEST_SIDE:
        scale = LARGEST_SIDE / longest
        size = tuple(max(1, round(side * scale)) for side in pixels.size)
        pixels = pixels.resize((size[0], size[1]), Image.Resampling.BOX)
    stream = io.BytesIO()
    pixels.save(stream, format="PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode()


def shown_change(change: Floats) -> Floats:
    """Return a perturbation (c, h, w) around mid-grey (h, w, 3), its largest value at the ends."""
    size = float(np.abs(change).max())
    grey = 0.5 + (0.5 / size if size > 0 else 0.0) * change
    if len(grey) == 3:
        return grey.transpose(1, 2, 0)
    return np.repeat(grey.mean(axis=0)[:, :, None], 3, axis=2)
