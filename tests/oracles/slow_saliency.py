"""Saliency masks and class activation maps written out with loops: slow and obvious."""

from __future__ import annotations

import numpy as np


def slow_upsample(grid: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear with half-pixel centres, pixel by pixel, rows first; in the type of the grid."""
    kind = grid.dtype.type

    def along(line: np.ndarray, length: int) -> np.ndarray:
        cells = len(line)
        out = np.empty((length, *line.shape[1:]), dtype=grid.dtype)
        for i in range(length):
            position = (2 * i + 1) * cells - length  # in units of 1 / (2 length)
            position = min(max(position, 0), (cells - 1) * 2 * length)
            low, rest = divmod(position, 2 * length)
            high = min(low + 1, cells - 1)
            share = kind(rest) / kind(2 * length)
            out[i] = line[low] + (line[high] - line[low]) * share
        return out

    rows = along(grid, size[0])
    return along(rows.T.copy(), size[1]).T


def slow_saliency_mask(grid: np.ndarray, size: tuple[int, int], m_min: float) -> np.ndarray:
    """One image's mask (height, width) from its grid (g, g)."""
    kind = grid.dtype.type
    saliency = slow_upsample(grid, size)
    return np.clip(kind(1) - kind(1 - m_min) * saliency, kind(m_min), kind(1))


def slow_grad_cam_pp(maps: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Grad-CAM++ of one image: maps and slopes (k, h, w) to (h, w), not yet scaled."""
    largest = max(float(slopes.max()), 0.0) ** 2
    result = np.zeros(maps.shape[1:])
    for activation, gradient in zip(maps, slopes, strict=True):
        total = max(float(activation.sum()), 0.0)
        weight = 0.0
        for g in gradient.flatten():
            if g > 0:
                weight += g * g**2 / (2 * g**2 + total * g**3 + 1e-6 * largest)
        result += weight * activation
    return np.maximum(result, 0.0)


def slow_layer_cam(maps: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """LayerCAM of one image."""
    result = np.zeros(maps.shape[1:])
    for activation, gradient in zip(maps, slopes, strict=True):
        result += np.where(gradient > 0, gradient, 0.0) * activation
    return np.maximum(result, 0.0)
