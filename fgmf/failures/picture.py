"""A picture of broken images: image, adversarial image, amplified perturbation, side by side."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from PIL import Image, ImageDraw

    from fgmf.types import Bounds

_SMALLEST_SIDE, _LARGEST_SIDE = 96, 224
_GAP, _LINE = 6, 16
_PAGE_WIDTH = 1000
_PIXEL_LIMIT = 6_000_000
_INK, _PAPER = "black", "white"


@dataclass(frozen=True, kw_only=True)
class PictureEntry:
    """One broken image: (h, w) or (c, h, w) arrays of one shape, and the words under it."""

    image: np.ndarray
    adversarial: np.ndarray
    caption: str


def draw_picture(
    entries: Sequence[PictureEntry], *, title: str, bounds: Bounds, changed: str = "adversarial"
) -> bytes:
    """Draw broken images in a grid.

    Args:
        entries: At least one; any number of channels (1 is grey, 3 is colour, others are drawn
            as their mean); any size (small images are enlarged without smoothing).
        title: First line of the picture.
        bounds: Pixel values of black and white.
        changed: What the second image of an entry is called.

    Returns:
        A PNG. Entries that would make it too large are left out, evenly; the title says so.
        The perturbation is drawn around mid-grey, amplified by one factor for all entries.
    """
    from PIL import Image, ImageDraw

    pixels = [_displayed(entry, bounds) for entry in entries]
    height, width = pixels[0][0].shape[:2]
    grid = _Grid.for_tiles(len(entries), height=height, width=width)
    shown = evenly_spaced(len(entries), grid.capacity)
    largest = max(float(abs(pixels[at][1] - pixels[at][0]).max()) for at in shown)
    factor = 0.5 / largest if largest > 0 else 1.0
    canvas = Image.new("RGB", grid.size(len(shown)), _PAPER)
    pen = ImageDraw.Draw(canvas)
    left_out = f", {len(shown)} of {len(entries)} drawn" if len(shown) < len(entries) else ""
    words = f"{title}{left_out}: image, {changed}, perturbation x {factor:.3g}"
    _write(pen, (_GAP, _GAP), words, grid.page_width - 2 * _GAP)
    for place, at in enumerate(shown):
        clean, adversarial = pixels[at]
        x, y = grid.corner(place)
        for column, tile in enumerate((clean, adversarial, 0.5 + factor * (adversarial - clean))):
            canvas.paste(_tile(tile, grid), (x + column * (grid.tile_width + 2), y))
        _write(pen, (x, y + grid.tile_height + 1), entries[at].caption, grid.entry_width)
    stream = io.BytesIO()
    canvas.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def evenly_spaced(count: int, most: int) -> list[int]:
    """Return at most `most` positions out of `count`, evenly spaced, the first one included."""
    kept = min(count, most)
    return [position * count // kept for position in range(kept)]


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """Places of entries on the page; an entry is three tiles and a caption."""

    tile_width: int
    tile_height: int
    columns: int

    @classmethod
    def for_tiles(cls, count: int, *, height: int, width: int) -> _Grid:
        longest = max(height, width)
        if longest < _SMALLEST_SIDE:
            scale = float(math.ceil(_SMALLEST_SIDE / longest))
        else:
            scale = min(1.0, _LARGEST_SIDE / longest)
        tile_width, tile_height = (max(1, round(side * scale)) for side in (width, height))
        entry_width = 3 * tile_width + 4 + 2 * _GAP
        columns = max(1, min(count, _PAGE_WIDTH // entry_width))
        return cls(tile_width=tile_width, tile_height=tile_height, columns=columns)

    @property
    def entry_width(self) -> int:
        return max(3 * self.tile_width + 4, 3 * _SMALLEST_SIDE)

    @property
    def entry_height(self) -> int:
        return self.tile_height + _LINE + _GAP

    @property
    def page_width(self) -> int:
        """At least wide enough for the title."""
        return max(self.columns * (self.entry_width + 2 * _GAP), 640)

    @property
    def capacity(self) -> int:
        """How many entries fit on the largest page, one row at least."""
        rows = _PIXEL_LIMIT // (self.page_width * self.entry_height)
        return self.columns * max(1, rows)

    def size(self, count: int) -> tuple[int, int]:
        rows = math.ceil(count / self.columns)
        return self.page_width, 2 * _GAP + _LINE + rows * self.entry_height

    def corner(self, place: int) -> tuple[int, int]:
        row, column = divmod(place, self.columns)
        x = _GAP + column * (self.entry_width + 2 * _GAP)
        return x, 2 * _GAP + _LINE + row * self.entry_height


def _displayed(entry: PictureEntry, bounds: Bounds) -> tuple[np.ndarray, np.ndarray]:
    """Return image and adversarial as (h, w) or (h, w, 3) arrays, scaled to 0..1."""
    import numpy as np

    lower, upper = bounds
    shown = []
    for array in (entry.image, entry.adversarial):
        scaled = (np.nan_to_num(array.astype(np.float64)) - lower) / (upper - lower)
        channels = scaled.reshape(-1, *scaled.shape[-2:])
        grey = channels.mean(axis=0)
        shown.append(channels.transpose(1, 2, 0) if len(channels) == 3 else grey)
    return shown[0], shown[1]


def _tile(values: np.ndarray, grid: _Grid) -> Image.Image:
    import numpy as np
    from PIL import Image

    tile = Image.fromarray(np.rint(values.clip(0.0, 1.0) * 255).astype(np.uint8))
    enlarged = grid.tile_width >= tile.width
    resampling = Image.Resampling.NEAREST if enlarged else Image.Resampling.BOX
    return tile.resize((grid.tile_width, grid.tile_height), resampling).convert("RGB")


def _write(pen: ImageDraw.ImageDraw, place: tuple[int, int], words: str, width: int) -> None:
    """Write one line of ASCII (all that the built-in font has), cut to `width` pixels."""
    from PIL import ImageFont

    font = ImageFont.load_default(12)
    text = ascii(words)[1:-1]
    while text and pen.textlength(text, font=font) > width:
        text = text[:-1]
    pen.text(place, text, fill=_INK, font=font)
