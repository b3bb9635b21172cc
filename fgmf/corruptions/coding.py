"""What storing an image does to it: JPEG and fewer pixels."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import torch

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from fgmf.types import Images


def jpeg(unit: Images, quality: float) -> Images:
    """Write each image as a JPEG of 8 bits and read it again.

    Args:
        unit: (n, 1 or 3, h, w) float64 in [0, 1].
        quality: 1 to 95, as Pillow counts.

    Returns:
        (n, c, h, w), multiples of 1/255. Colour is stored at half the resolution (4:2:0).

    Raises:
        InvalidInput: Neither one channel nor three.
    """
    channels = unit.shape[1]
    if channels not in {1, 3}:
        raise InvalidInput(
            f"expected images of 1 or 3 channels for jpeg, got {channels}; name other corruptions"
        )
    levels = (unit * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    decoded = np.stack([_through_jpeg(image, int(quality)) for image in levels])
    return torch.from_numpy(decoded).permute(0, 3, 1, 2).to(unit.dtype) / 255


def _through_jpeg(levels: np.ndarray, quality: int) -> np.ndarray:
    """Code and decode (h, w, c) bytes."""
    from PIL import Image

    grey = levels.shape[2] == 1
    stream = io.BytesIO()
    Image.fromarray(levels[:, :, 0] if grey else levels).save(stream, "JPEG", quality=quality)
    with Image.open(stream, formats=["JPEG"]) as image:
        return np.array(image).reshape(levels.shape)


def pixelate(unit: Images, share: float) -> Images:
    """Keep fewer, larger pixels: means of areas, enlarged again without smoothing.

    Args:
        unit: (n, c, h, w) float64 in [0, 1].
        share: Of the pixels of each side that are kept, rounded down, at least one.

    Returns:
        (n, c, h, w).
    """
    rows, columns = (_area_means(side, max(1, int(side * share))) for side in unit.shape[-2:])
    return rows @ unit @ columns.T


def _area_means(side: int, kept: int) -> torch.Tensor:
    """A (side, side) matrix that takes means over `kept` equal areas, and repeats them."""
    edges = torch.arange(kept + 1, dtype=torch.float64) * side / kept
    pixels = torch.arange(side, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], pixels + 1) - torch.maximum(edges[:-1, None], pixels)
    means = overlap.clamp_min(0.0) * kept / side
    nearest = ((pixels + 0.5) * kept / side).floor().long()
    return means[nearest]
