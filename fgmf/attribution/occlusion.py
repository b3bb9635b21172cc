"""Occlusion: what the score loses when a cell of the image is replaced.

    for each cell k of a grid:   drop_k = score(x) - score(x with cell k replaced)
    map = drop of the cell that a pixel is in  |  bilinear between the cells

Source: Zeiler & Fergus 2014. Deviations: cells of a grid instead of a sliding window, so that
their number is the cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from fgmf.attribution.images import Replacement, cell_masks, cell_numbers, enlarge, replacements
from fgmf.attribution.method import Answer, Method
from fgmf.attribution.passes import Output, Variants, ask_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgmf.attribution.request import Request
    from fgmf.types import Images


@dataclass(frozen=True, kw_only=True)
class Occlusion(Method):
    """Drop of the score per cell of a grid.

    Attributes:
        grid: Cells per side; 8, as PGCA's.
        replacement: ``zero``, ``mean``, ``noise`` or ``blur`` (`images.replacements`).
        zero: The pixel value of ``zero``.
        spread: ``cell``: every pixel has its cell's drop. ``bilinear``: between cells.
        output: ``log-odds``, ``logit`` or ``probability`` of the target class.

    Cost: grid * grid + 1 forward passes per image. Randomness: ``noise`` draws once per image.
    """

    name: ClassVar[str] = "occlusion"
    grid: int = 8
    replacement: Replacement = "zero"
    zero: float = 0.0
    spread: Literal["cell", "bilinear"] = "cell"
    output: Output = "log-odds"

    def _answer(self, request: Request) -> Answer:
        fill = whole_replacement(request, self.replacement, zero=self.zero)
        drops, scores = cell_drops(request, [fill], grid=self.grid, output=self.output)
        height, width = request.images.shape[2:]
        shown = enlarge if self.spread == "bilinear" else over_cells
        return Answer(maps=shown(drops[:, 0], height, width), diagnostics={"score": scores})


def whole_replacement(request: Request, kind: Replacement, *, zero: float, draw: int = 0) -> Images:
    """Return what replaces the pixels of every image: (n, c, h, w); `draw` counts for noise."""
    everyone = torch.arange(len(request.images))
    number = torch.full_like(everyone, draw)
    return replacements(request, everyone, kind, zero=zero, number=number)


def cell_drops(
    request: Request, fills: Sequence[Images], *, grid: int, output: Output
) -> tuple[torch.Tensor, torch.Tensor]:
    """Replace each cell in turn, with each fill, all in common batches.

    Args:
        request: The images.
        fills: Each (n, c, h, w), what pixels are replaced with.
        grid: Cells per side.
        output: Of what the drop is measured.

    Returns:
        (n, fills, grid, grid) drops and (n,) scores of the images; float64 on the CPU.

    Raises:
        InvalidInput: The grid is finer than the pixels.

    Cost: 1 + grid * grid * fills forward passes per image. Randomness: none.
    """
    table = torch.stack(list(fills))
    cells = grid * grid
    height, width = request.images.shape[2:]
    masks = cell_masks(height, width, grid).to(request.images.device)[:, None]
    nothing = torch.zeros_like(masks[:1])
    masks = torch.cat([nothing, masks])  # number 0 is the image itself

    def occluded(image: torch.Tensor, number: torch.Tensor) -> Images:
        before = (number - 1).clamp_min(0)
        fill, cell = before // cells, torch.where(number > 0, before % cells + 1, 0)
        return torch.where(masks[cell], table[fill, image], request.images[image])

    variants = Variants(count=1 + cells * len(fills), make=occluded)
    scores = ask_scores(request, variants, output=output)
    drops = (scores[:, :1] - scores[:, 1:]).reshape(len(scores), len(fills), grid, grid)
    return drops, scores[:, 0]


def over_cells(drops: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Give every pixel the value of its cell: (n, grid, grid) to (n, height, width)."""
    return drops.flatten(1)[:, cell_numbers(height, width, drops.shape[1])]


def chess_board(height: int, width: int, grid: int) -> torch.Tensor:
    """Return which pixels are on white fields, corner cell included: (height, width) bool."""
    number = cell_numbers(height, width, grid)
    return (number // grid + number % grid) % 2 == 0
