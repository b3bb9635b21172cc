"""Masks of a log as pictures: of a few batches that lie evenly over all that is read.

kept = masks of every 2^k-th batch; where one too many is kept, every second one goes, and k grows
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fgmf.errors import InvalidInput
from fgmf.mask_log.masks import GRID, MASK, saliency_mask_of_row
from fgmf.mask_log.packs import stored_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fgmf.mask_log.records import Record
    from fgmf.mask_log.streams import ObservedBatch
    from fgmf.types import Json

_HINT: Final = "white: the pixel passes as it is; black: it is held back most in this mask"


@dataclass(kw_only=True)
class SampleMasks:
    """Keeps the mask of one sample of some batches.

    Attributes:
        count: Most samples that are shown; 0 keeps nothing.
        seen: Batches that were read.
        stride: Every so many batches one is kept.
        kept: Number of the batch, words, and the tile.
    """

    count: int
    seen: int = 0
    stride: int = 1
    kept: list[tuple[int, str, str]] = field(default_factory=list)

    def take(self, batch: ObservedBatch) -> None:
        """Take a batch; of one whose samples were all erased nothing is kept."""
        number = self.seen
        self.seen += 1
        if not self.count or number % self.stride:
            return
        found = _first_mask(batch)
        if found is None:
            return
        self.kept.append((number, *found))
        if len(self.kept) > self.count:
            self.stride *= 2
            self.kept = [entry for entry in self.kept if entry[0] % self.stride == 0]

    def take_weights(self, stream: str, record: Record, segment: int) -> None:
        """Weights are no masks."""

    def identity(self) -> dict[str, Json]:
        """Say what is kept."""
        return {"sample_masks": self.count}

    def as_document(self) -> dict[str, Json]:
        """Return what was kept as JSON."""
        kept: list[Json] = [list(entry) for entry in self.kept]
        return {"kept": kept, "seen": self.seen, "stride": self.stride}

    def restore(self, document: Mapping[str, Any]) -> None:
        """Take up what was kept before.

        Args:
            document: What `as_document` returned.
        """
        self.kept = [(int(n), str(words), str(tile)) for n, words, tile in document["kept"]]
        self.seen, self.stride = int(document["seen"]), int(document["stride"])

    def pictures(self) -> list[Json]:
        """Return the picture for the evidence of a verdict; none where no mask was kept."""
        if not self.kept:
            return []
        rows: list[Json] = [{"caption": words, "tiles": [tile]} for _, words, tile in self.kept]
        return [
            {
                "title": "Masks of samples",
                "hint": _HINT,
                "columns": ["saliency mask"],
                "rows": rows,
                "left_out": 0,
            }
        ]


def _first_mask(batch: ObservedBatch) -> tuple[str, str] | None:
    """Words and tile of the first sample of a batch that was not erased and can be shown."""
    from fgmf.explaining.tiles import encoded_tile

    layout = batch.layout
    for position, row in enumerate(batch.rows):
        if row is None:
            continue
        values = {
            form.name: stored_values(
                form, reference, batch.pack.read(reference.offset, reference.length)
            )
            for form, reference in zip(layout.arrays, layout.references(row), strict=True)
            if form.name in {GRID, MASK}
        }
        try:
            mask = saliency_mask_of_row(layout, values) if values else None
        except InvalidInput:  # of a layer whose masks cannot be made here
            return None
        if mask is None or mask.ndim != 3:
            return None
        flat = mask.astype("float64").mean(axis=0)
        low, high = float(flat.min()), float(flat.max())
        scaled = (flat - low) / (high - low) if high > low else flat
        words = f"stream {batch.stream}, record {batch.record.seq}, row {position}"
        return f"{words}: {low:.3g} to {high:.3g}", encoded_tile(scaled)
    return None
