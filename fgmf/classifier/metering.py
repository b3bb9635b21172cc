"""Counting passes: one forward or backward pass of one image is one."""

from __future__ import annotations

from dataclasses import dataclass

from fgmf.verdict import Cost


@dataclass(kw_only=True)
class CostMeter:
    """Running totals; differences of two readings give the cost of what lies between."""

    forward_passes: int = 0
    backward_passes: int = 0

    def reading(self) -> Cost:
        """The totals so far, without time."""
        return Cost(forward_passes=self.forward_passes, backward_passes=self.backward_passes)

    def since(self, start: Cost, *, seconds: float) -> Cost:
        """The cost since an earlier reading."""
        return Cost(
            forward_passes=self.forward_passes - start.forward_passes,
            backward_passes=self.backward_passes - start.backward_passes,
            seconds=seconds,
        )
