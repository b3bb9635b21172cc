"""Windows of the Square attack, and the bumps that its L2 form puts into them.

A bump of side s, with n = s // 2 and t the larger distance of a cell to the centre, is
sum_{k=0}^{n-t} 1 / (n + 1 - k)^2; its right part has the opposite sign, or its lower part, and
it has Euclidean norm 1.

Source: Andriushchenko et al. 2020, section 3.3 and appendix.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch


@dataclass(frozen=True, kw_only=True)
class Windows:
    """One square per lane: upper row, left column, side, each (m,) int64."""

    top: torch.Tensor
    left: torch.Tensor
    side: torch.Tensor

    @classmethod
    def drawn(cls, draws: torch.Tensor, side: torch.Tensor, height: int, width: int) -> Windows:
        """Place windows by (m, 2) uniform numbers."""
        top = (draws[:, 0] * (height - side + 1)).long()
        left = (draws[:, 1] * (width - side + 1)).long()
        return cls(top=top, left=left, side=side)


def window_flags(windows: Windows, height: int, width: int) -> torch.Tensor:
    """(m, h, w) True inside."""
    rows, columns = _local(windows, height, width)
    side = windows.side[:, None]
    inside_rows = (rows >= 0) & (rows < side)
    inside_columns = (columns >= 0) & (columns < side)
    return inside_rows[:, :, None] & inside_columns[:, None, :]


def place_bumps(
    table: torch.Tensor, windows: Windows, turned: torch.Tensor, height: int, width: int
) -> torch.Tensor:
    """Return (m, h, w) float64 bumps in their windows, transposed where `turned`."""
    rows, columns = _local(windows, height, width)
    last = table.shape[1] - 1
    down = rows.clamp(0, last)[:, :, None].expand(-1, -1, width)
    right = columns.clamp(0, last)[:, None, :].expand(-1, height, -1)
    flip = turned[:, None, None]
    size = windows.side[:, None, None]
    values = table[size, torch.where(flip, right, down), torch.where(flip, down, right)]
    return values * window_flags(windows, height, width)


def tiled_bumps(signs: torch.Tensor) -> torch.Tensor:
    """Return the L2 start: a bump in every tile.

    Args:
        signs: (m, c, h, w) uniform numbers; one per tile and channel is used.

    Returns:
        (m, c, h, w) float64; not yet scaled.
    """
    height, width = signs.shape[2:]
    side = max(1, min(height, width) // 5)
    bump = _bump(side).to(signs.device)
    rows = torch.arange(height, device=signs.device)
    columns = torch.arange(width, device=signs.device)
    picked = signs[:, :, (rows // side * side)[:, None], columns // side * side]
    pattern = bump[(rows % side)[:, None], columns % side]
    return (picked * 2 - 1).sign() * pattern


@lru_cache(maxsize=16)
def bump_table(largest: int, device: torch.device) -> torch.Tensor:
    """(largest + 1, largest, largest) float64: bumps of side s in the corner of table[s]."""
    table = torch.zeros(largest + 1, largest, largest, dtype=torch.float64)
    for side in range(1, largest + 1):
        table[side, :side, :side] = _bump(side)
    return table.to(device)


def _bump(side: int) -> torch.Tensor:
    half = side // 2
    bump = torch.cat([_heap(side, half), -_heap(side, side - half)], dim=1) if half else _heap(1, 1)
    unit: torch.Tensor = bump / bump.norm()
    return unit


def _heap(height: int, width: int) -> torch.Tensor:
    peak = height // 2
    rows = (torch.arange(height) - height // 2).abs()[:, None]
    columns = (torch.arange(width) - width // 2).abs()[None, :]
    ring = torch.maximum(rows, columns)
    terms = torch.tensor([1 / (peak + 1 - k) ** 2 for k in range(peak + 1)], dtype=torch.float64)
    return terms.cumsum(0)[(peak - ring).clamp_min(0)]


def _local(windows: Windows, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(m, h) rows and (m, w) columns counted from the window's corner."""
    device = windows.side.device
    rows = torch.arange(height, device=device) - windows.top[:, None]
    columns = torch.arange(width, device=device) - windows.left[:, None]
    return rows, columns
