"""Maps as pictures: a colour for each sign, an overlay on the image, strips with captions.

Red speaks for the class, blue against it, white says nothing; each map has its own scale, from
its largest absolute value. Small images are enlarged without smoothing, so that a pixel stays a
pixel.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from PIL import Image, ImageDraw

    from fgmf.types import Bounds

    Floats = NDArray[np.float64]

_RED = np.array([0.79, 0.08, 0.12])
_BLUE = np.array([0.09, 0.33, 0.70])
_SMALLEST_SIDE, _LARGEST_SIDE = 112, 256
_GAP, _LINE, _FONT = 8, 17, 12
_MOST_ROWS = 64
_LEAST_WIDTH = 640
"""For the title."""
_INK, _PAPER = "black", "white"


@dataclass(frozen=True, kw_only=True)
class Strip:
    """One row of a picture: tiles (h, w, 3) in [0, 1] of one size, and the words above them."""

    caption: str
    tiles: Sequence[Floats]


def shown_image(image: Floats, bounds: Bounds) -> Floats:
    """Return an image (c, h, w) as (h, w, 3) in [0, 1]: colour for 3 channels, else their mean."""
    lower, upper = bounds
    scaled = ((image.astype(np.float64) - lower) / (upper - lower)).clip(0, 1)
    if len(scaled) == 3:
        return scaled.transpose(1, 2, 0)
    return np.repeat(scaled.mean(axis=0)[:, :, None], 3, axis=2)


def coloured(map_: Floats) -> Floats:
    """Return a map (h, w) as colours (h, w, 3): red above zero, blue below, white at zero."""
    strength = _relative(map_)[:, :, None]
    hue = np.where(map_[:, :, None] >= 0, _RED, _BLUE)
    colours: Floats = 1 - strength * (1 - hue)
    return colours


def overlay(image: Floats, map_: Floats, bounds: Bounds) -> Floats:
    """Return the image in grey (h, w, 3), coloured where the map speaks."""
    grey = shown_image(image, bounds).mean(axis=2, keepdims=True)
    pale = 0.25 + 0.5 * grey  # so that both colours can be told from black and from white
    strength = _relative(map_)[:, :, None]
    hue = np.where(map_[:, :, None] >= 0, _RED, _BLUE)
    mixed: Floats = (1 - strength) * pale + strength * hue
    return mixed


def draw_strips(strips: Sequence[Strip], *, title: str, names: Sequence[str]) -> bytes:
    """Draw rows of tiles.

    Args:
        strips: At least one; of more than 64 the first are drawn, and the title says so.
        title: First line of the picture.
        names: One per column, written above the tiles.

    Returns:
        A PNG.
    """
    from PIL import Image, ImageDraw

    drawn = strips[:_MOST_ROWS]
    height, width = drawn[0].tiles[0].shape[:2]
    tile_width, tile_height = _tile_size(height, width)
    columns = len(names)
    page = (
        max(_LEAST_WIDTH, 2 * _GAP + columns * tile_width + (columns - 1) * _GAP),
        2 * _GAP + 2 * _LINE + len(drawn) * (tile_height + _LINE + _GAP),
    )
    canvas = Image.new("RGB", page, _PAPER)
    pen = ImageDraw.Draw(canvas)
    left_out = f", {len(drawn)} of {len(strips)} drawn" if len(drawn) < len(strips) else ""
    _write(pen, (_GAP, _GAP), title + left_out, page[0] - 2 * _GAP)
    for column, name in enumerate(names):
        x = _GAP + column * (tile_width + _GAP)
        _write(pen, (x, _GAP + _LINE), name, tile_width)
    for row, strip in enumerate(drawn):
        y = _GAP + 2 * _LINE + row * (tile_height + _LINE + _GAP)
        _write(pen, (_GAP, y), strip.caption, page[0] - 2 * _GAP)
        for column, tile in enumerate(strip.tiles):
            x = _GAP + column * (tile_width + _GAP)
            canvas.paste(_enlarged(tile, tile_width, tile_height), (x, y + _LINE))
    stream = io.BytesIO()
    canvas.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _relative(map_: Floats) -> Floats:
    """|map| over its largest; zero where the map is zero everywhere."""
    size = np.abs(map_)
    largest = float(size.max())
    return size / largest if largest > 0 else size


def _tile_size(height: int, width: int) -> tuple[int, int]:
    longest = max(height, width)
    if longest < _SMALLEST_SIDE:
        scale = float(math.ceil(_SMALLEST_SIDE / longest))
    else:
        scale = min(1.0, _LARGEST_SIDE / longest)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _enlarged(tile: Floats, width: int, height: int) -> Image.Image:
    from PIL import Image

    pixels = Image.fromarray(np.rint(tile.clip(0, 1) * 255).astype(np.uint8))
    larger = width >= pixels.width
    resampling = Image.Resampling.NEAREST if larger else Image.Resampling.BOX
    return pixels.resize((width, height), resampling)


def _write(pen: ImageDraw.ImageDraw, place: tuple[int, int], words: str, width: int) -> None:
    """Write one line of ASCII, which is all that the built-in font has, cut to `width`."""
    from PIL import ImageFont

    font = ImageFont.load_default(_FONT)
    text = ascii(words)[1:-1]
    while text and pen.textlength(text, font=font) > width:
        text = text[:-1]
    pen.text(place, text, fill=_INK, font=font)
