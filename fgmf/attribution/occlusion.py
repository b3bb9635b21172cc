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
        drops, _ = occlusion_drops(
            request, [self.replacement], grid=self.grid, zero=self.zero, output=self.output
        )
        height, width = request.images.shape[2:]
        if self.spread == "bilinear":
            return Answer(maps=enlarge(drops[0], height, width))
        return Answer(maps=over_cells(drops[0], height, width))


def occlusion_drops(
    request: Request,
    kinds: Sequence[Replacement],
    *,
    grid: int,
    zero: float,
    output: Output,
    draws: int = 1,
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Replace each cell in turn, with each replacement, all in common batches.

    Args:
        request: The images.
        kinds: Replacements.
        grid: Cells per side.
        zero: The pixel value of ``zero``.
        output: Of what the drop is measured.
        draws: Of ``noise``; its drop is the mean over them.

    Returns:
        For each kind (n, grid, grid), and the scores (n,) of the images; float64 on the CPU.

    Raises:
        InvalidInput: The grid is finer than the pixels.

    Cost: 1 + grid * grid * (number of kinds, ``noise`` counted `draws` times) forward passes per
        image. Randomness: fixed by seed and key.
    """
    fills = [(kind, draw) for kind in kinds for draw in range(draws if kind == "noise" else 1)]
    filled = [
        replacements(
            request,
            torch.arange(len(request.images)),
            kind,
            zero=zero,
            number=torch.full((len(request.images),), draw),
        )
        for kind, draw in fills
    ]
    table = torch.stack(filled)  # (fills, n, c, h, w)
    cells = grid * grid
    height, width = request.images.shape[2:]
    masks = cell_masks(height, width, grid).to(request.images.device)[:, None]

    def occluded(image: torch.Tensor, number: torch.Tensor) -> Images:
        covered = number > 0
        fill, cell = (
            (number - 1).clamp_min(0).div(cells, rounding_mode="floor"),
            (number - 1) % cells,
        )
        hidden = masks[cell] & covered[:, None, None, None].to(masks.device)
        return torch.where(hidden, table[fill, image], request.images[image])

    variants = Variants(count=1 + cells * len(fills), make=occluded)
    scores = ask_scores(request, variants, output=output)
    drops = (scores[:, :1] - scores[:, 1:]).reshape(len(scores), len(fills), grid, grid)
    per_kind = [
        drops[:, [i for i, (name, _) in enumerate(fills) if name == kind]].mean(dim=1)
        for kind in kinds
    ]
    return per_kind, scores[:, 0]


def over_cells(drops: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Give every pixel the value of its cell: (n, grid, grid) to (n, height, width)."""
    return drops.flatten(1)[:, cell_numbers(height, width, drops.shape[1])]
