"""Tiles as plain data: the pixels come back, large ones shrink, and a picture is bounded."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from fgmf.explaining import tiles
from fgmf.explaining.tiles import TileRow, encoded_tile, shown_change, tiled_picture

if TYPE_CHECKING:
    import pytest


def decoded(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_a_tile_is_what_it_was() -> None:
    values = np.random.default_rng(0).random((5, 7, 3))
    image = decoded(encoded_tile(values))
    assert image.size == (7, 5)
    assert np.abs(np.asarray(image) / 255 - values).max() <= 0.5 / 255 + 1e-12  # 8 bits


def test_large_tiles_shrink() -> None:
    assert decoded(encoded_tile(np.zeros((400, 200)))).size == (48, 96)


def test_values_that_are_no_pixels_do_no_harm() -> None:
    image = decoded(encoded_tile(np.array([[np.nan, -1.0], [2.0, np.inf]])))
    assert np.asarray(image).tolist() == [[0, 0], [255, 255]]


def test_rows_without_room_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    row = TileRow(caption="x", tiles=[np.zeros((4, 4))])
    size = len(encoded_tile(row.tiles[0]))
    monkeypatch.setattr(tiles, "MOST_CHARACTERS", 2 * size)
    made: Any = tiled_picture("T", ["image"], [row] * 5)
    assert (len(made["rows"]), made["left_out"]) == (2, 3)


def test_a_change_is_drawn_around_grey() -> None:
    shown = shown_change(np.array([[[-0.01, 0.0], [0.005, 0.01]]]))
    assert shown[:, :, 0].tolist() == [[0.0, 0.5], [0.75, 1.0]]
    assert (shown_change(np.zeros((3, 2, 2))) == 0.5).all()
