"""Images shifted and mirrored anew in every epoch, and perturbations that move with them.

for each image of a batch:
    shift (dy, dx) uniform in [-padding, padding]^2;  mirrored with probability 1/2
    view[y, x] = image[y + dy, x' + dx],  x' = x, or w - 1 - x where mirrored;  outside: `fill`

A stored perturbation belongs to the image as it is. It is read through the view, and what comes
back is written through its inverse; pixels that the view does not show keep what they had.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from fgmf.scorpio import PerturbationStore
    from fgmf.types import Images


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How images are moved.

    Attributes:
        padding: Largest shift in pixels, in each direction.
        mirror: Also left and right exchanged, for half of the images.

    Source: the usual crop of a padded image and flip (He et al. 2016).
    """

    padding: int = 4
    mirror: bool = True

    def __post_init__(self) -> None:
        """Refuse what is no shift.

        Raises:
            InvalidInput: A padding that is no whole number from 0 on.
        """
        if not isinstance(self.padding, int) or self.padding < 0:
            raise InvalidInput(
                f"expected padding as a whole number from 0 on, got {self.padding!r}"
            )

    def draw(self, count: int, draws: torch.Generator) -> Views:
        """Draw the views of so many images.

        Randomness: `draws`, 3 numbers for each image.
        """
        shifts = torch.randint(-self.padding, self.padding + 1, (count, 2), generator=draws)
        mirrored = torch.rand(count, generator=draws) < (0.5 if self.mirror else 0.0)
        return Views(shifts=shifts, mirrored=mirrored)


@dataclass(frozen=True, kw_only=True)
class Views:
    """What is seen of each image of a batch.

    Attributes:
        shifts: (n, 2) int64: down and right, in pixels.
        mirrored: (n,) bool.
    """

    shifts: torch.Tensor
    mirrored: torch.Tensor

    def of(self, values: Images, *, fill: float = 0.0) -> Images:
        """Return the views of `values` (n, c, h, w), on the CPU, with `fill` beyond the edges."""
        rows, columns, inside = self._sources(values)
        number = torch.arange(len(values))[:, None, None]
        highest, widest = values.shape[2] - 1, values.shape[3] - 1
        seen = values[number, :, rows.clamp(0, highest), columns.clamp(0, widest)]
        seen = seen.permute(0, 3, 1, 2).contiguous()
        return seen.masked_fill(~inside[:, None], fill)

    def undone(self, seen: Images, onto: Images) -> Images:
        """Put `seen` back to where it came from, on a copy of `onto`; both (n, c, h, w)."""
        rows, columns, inside = self._sources(onto)
        shape = inside.shape
        rows, columns = rows.expand(shape)[inside], columns.expand(shape)[inside]
        number = torch.arange(len(onto))[:, None, None].expand(shape)[inside]
        whole = onto.clone()
        whole[number, :, rows, columns] = seen.permute(0, 2, 3, 1)[inside]
        return whole

    def _sources(self, values: Images) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Row (n, h, 1) and column (n, 1, w) of each pixel of a view, and whether there is one."""
        height, width = values.shape[2:]
        down, right = self.shifts[:, :1], self.shifts[:, 1:]
        across = torch.arange(width).expand(len(self.shifts), width)
        across = torch.where(self.mirrored[:, None], width - 1 - across, across)
        rows, columns = (torch.arange(height) + down)[:, :, None], (across + right)[:, None, :]
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        return rows, columns, inside


class ViewedPerturbations:
    """A store of perturbations, read and written through views.

    Args:
        store: Of the images as they are.
        views: Of the batch that comes now.
    """

    def __init__(self, store: PerturbationStore, views: Views) -> None:
        self._store, self._views = store, views

    def read(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Perturbations as the views show them, 0 beyond the edges, and which images have one."""
        kept, seen = self._store.read(indices)
        return self._views.of(kept), seen

    def write(self, indices: torch.Tensor, perturbations: torch.Tensor) -> None:
        """Keep what the views show; the rest of the images keeps what it had."""
        kept, _ = self._store.read(indices)
        values = perturbations.detach().cpu().to(kept.dtype)
        self._store.write(indices, self._views.undone(values, kept))
