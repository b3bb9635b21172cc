"""Looks at the masks themselves while a log is read: can they be undone, what do they protect?

A mask in [m_min, 1] with m_min > 0 is undone by a division, within two roundings: with inputs in
[0, 1] and float32 within 1e-5 by far. A grid is enough to know: the mask lies between its values,
clamped to [m_min, 1], if these are numbers. Bits that are 0 cannot be undone.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fgmf.mask_log.masks import GRID, MASK, saliency_mask_of_row, widened
from fgmf.mask_log.packs import stored_values
from fgmf.mask_log.rows import RAW

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fgmf.mask_log.records import Record
    from fgmf.mask_log.rows import ArrayForm, Layout
    from fgmf.mask_log.streams import ObservedBatch
    from fgmf.types import Json

_CODES: Final = {
    "bool": "B",
    "float32": "f",
    "float64": "d",
    "int8": "b",
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "uint8": "B",
}
SMALLEST_FLOOR: Final = 1e-3
"""Below it a division by the mask is no undoing in float32."""


@dataclass(kw_only=True)
class MaskLook:
    """Looks at every mask of a log.

    Attributes:
        floor: Lowest value that masks may have.
        invertible: Whether every mask must be one that can be undone.
        protected_below: Pixels with a lower mask are protected; None counts none.
        samples: Samples that were looked at.
        protected: Sum over the samples of the share of protected pixels.
        failing: Samples that are not what they must be, by what is wrong, with the first place.
    """

    floor: float | None = None
    invertible: bool = True
    protected_below: float | None = None
    samples: int = 0
    protected: float = 0.0
    failing: dict[str, list[str | int]] = field(default_factory=dict)
    _layout: Layout | None = field(default=None, init=False, repr=False)
    _sound: bool = field(default=False, init=False, repr=False)

    def take(self, batch: ObservedBatch) -> None:
        """Look at the masks of a batch."""
        if batch.layout is not self._layout:
            self._layout, self._sound = batch.layout, self._sound_grids(batch.layout)
        for position, row in enumerate(batch.rows):
            if row is not None:
                self.samples += 1
                if self._sound and _is_finite(batch, row):
                    continue
                for what in self._wrong(batch, row):
                    self._note(what, batch, position)

    def take_weights(self, stream: str, record: Record, segment: int) -> None:
        """Weights are no masks."""

    def identity(self) -> dict[str, Json]:
        """Say what is asked of masks."""
        return {
            "floor": self.floor,
            "invertible": self.invertible,
            "protected_below": self.protected_below,
        }

    def as_document(self) -> dict[str, Json]:
        """Return what was seen as JSON."""
        failing: list[Json] = [[what, list(first)] for what, first in self.failing.items()]
        return {"failing": failing, "protected": self.protected.hex(), "samples": self.samples}

    def restore(self, document: Mapping[str, Any]) -> None:
        """Take up what was seen before.

        Args:
            document: What `as_document` returned.
        """
        self.failing = {str(what): list(first) for what, first in document["failing"]}
        self.protected = float.fromhex(document["protected"])
        self.samples = int(document["samples"])

    def _sound_grids(self, layout: Layout) -> bool:
        """Say whether masks of a layout are what they must be if their grids are numbers."""
        floor = layout.layer.get("m_min")
        forms = layout.arrays
        if self.protected_below is not None or len(forms) != 1 or forms[0].name != GRID:
            return False
        known = isinstance(floor, float | int) and forms[0].dtype == "float32"
        return known and max(SMALLEST_FLOOR, self.floor or 0.0) <= floor <= 1.0  # type: ignore[operator]

    def _note(self, what: str, batch: ObservedBatch, position: int) -> None:
        entry = self.failing.setdefault(what, [batch.stream, batch.record.seq, position, 0])
        entry[3] = int(entry[3]) + 1

    def lines(self) -> Iterator[tuple[str, str, int]]:
        """Yield what is wrong: stream, a line that stands alone, number of the first record."""
        for what, (stream, record, row, count) in self.failing.items():
            yield str(stream), f"{what}: {count} samples, the first is row {row}", int(record)

    @property
    def protected_share(self) -> float | None:
        """Mean over the samples of the share of protected pixels; None where none was counted."""
        return self.protected / self.samples if self.samples else None

    def _wrong(self, batch: ObservedBatch, row: bytes) -> Iterator[str]:
        layout = batch.layout
        values = {}
        for form, reference in zip(layout.arrays, layout.references(row), strict=True):
            if form.name in {GRID, MASK}:
                stored = batch.pack.read(reference.offset, reference.length)
                values[form.name] = stored_values(form, reference, stored)
                yield from self._wrong_values(layout, form, values[form.name])
        if not values:
            yield "no mask was logged"
        elif self.protected_below is not None:
            mask = saliency_mask_of_row(layout, values)
            self.protected += float((mask < self.protected_below).mean())

    def _wrong_values(self, layout: Layout, form: ArrayForm, values: bytes) -> Iterator[str]:
        low, high = _range(layout, form, values)
        if not (math.isfinite(low) and math.isfinite(high)):
            yield "masks are not numbers"
            return
        if self.invertible and not SMALLEST_FLOOR <= low <= high <= 1.0:
            yield f"masks cannot be undone (they reach {low:.3g})"
        if self.floor is not None and low < self.floor:
            yield f"masks reach {low:.3g}, and {self.floor:g} is their floor"


def _is_finite(batch: ObservedBatch, row: bytes) -> bool:
    """Say whether a grid of float32 that is stored as it is holds numbers only."""
    reference = batch.layout.references(row)[0]
    if reference.coding != RAW:
        return False
    values = batch.pack.read(reference.offset, reference.length)
    return math.isfinite(sum(memoryview(values).cast("f")))


def _range(layout: Layout, form: ArrayForm, values: bytes) -> tuple[float, float]:
    """Lowest and highest value that a mask can have."""
    if form.dtype == "bits":
        return 0.0 if any(byte != 255 for byte in values[:-1]) or _last(form, values) else 1.0, 1.0
    numbers = _numbers(form, values)
    if not math.isfinite(sum(numbers)):
        return math.nan, math.nan
    if form.name == MASK:
        return min(numbers), max(numbers)
    floor = layout.layer.get("m_min")
    return (float(floor), 1.0) if isinstance(floor, float | int) else (math.nan, math.nan)


def _numbers(form: ArrayForm, values: bytes) -> Sequence[float]:
    if form.dtype == "float16":
        return struct.unpack(f"{form.value_count}e", values)
    if form.dtype == "bfloat16":
        values = widened(values)
    code = _CODES.get(form.dtype, "f")
    numbers: Sequence[float] = memoryview(values).cast(code)  # type: ignore[call-overload] # codes
    return numbers


def _last(form: ArrayForm, values: bytes) -> bool:
    """Whether a bit of the last byte that counts is 0."""
    used = form.value_count - 8 * (len(values) - 1)
    wanted = (0xFF << (8 - used)) & 0xFF
    return values[-1] & wanted != wanted
