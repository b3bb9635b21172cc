"""Units of a model that can be removed whole: values, and the bookkeeping while they are found.

A *space* is an axis of channels that several tensors share: what a convolution puts out, what the
normalisation behind it scales, what the next layer reads. Spaces that meet in a residual sum become
one. A space that something reads which nobody can shrink is *pinned*, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import torch

Role = Literal["source", "companion", "reader"]
"""Source: rows that make the unit; companion: its scale, shift or statistics; reader: columns."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Where the units of a group lie in one tensor.

    Attributes:
        module: Name of the layer.
        tensor: Of the layer: weight, bias, running_mean, ...
        dim: Axis along which the units lie.
        role: What the tensor is to them.
        offset: Index of the first unit's first element.
        repeat: Elements of each unit, neighbours.
    """

    module: str
    tensor: str
    dim: int
    role: Role
    offset: int = 0
    repeat: int = 1

    @property
    def name(self) -> str:
        """Name of the tensor in the model's state."""
        return f"{self.module}.{self.tensor}".lstrip(".")

    def indices(self, units: Iterable[int]) -> list[int]:
        """Return the indices of units along the axis."""
        starts = (self.offset + unit * self.repeat for unit in units)
        return [start + at for start in starts for at in range(self.repeat)]


@dataclass(frozen=True, kw_only=True)
class UnitGroup:
    """Units that go together, in every tensor that holds them.

    Attributes:
        name: Of the layer that makes them.
        kind: What they are.
        size: How many.
        slices: Where they lie.
        crossing: Norms over all units at once: what they put out for the others depends on how
            many there were, so they go on counting the removed ones (`padded_norm`).
    """

    name: str
    kind: Literal["channels", "heads", "units"]
    size: int
    slices: tuple[Slice, ...]
    crossing: tuple[str, ...] = ()

    def of_role(self, *roles: Role) -> tuple[Slice, ...]:
        """Return the slices of some roles."""
        return tuple(entry for entry in self.slices if entry.role in roles)


@dataclass(frozen=True, kw_only=True)
class FoundUnits:
    """What of a model can be removed whole.

    Attributes:
        groups: By the name of the layer that makes the units.
        refusals: Layers whose units cannot be removed, and why.
    """

    groups: Mapping[str, UnitGroup]
    refusals: Mapping[str, str]


@dataclass(frozen=True)
class Span:
    """A stretch of an axis: the units of one space, each so often in a row."""

    space: int
    size: int
    repeat: int = 1


@dataclass(frozen=True)
class Channels:
    """Which spaces lie along which axis of a value."""

    axis: int
    spans: tuple[Span, ...]

    @property
    def length(self) -> int:
        """Elements along the axis."""
        return sum(span.size * span.repeat for span in self.spans)


@dataclass
class _Space:
    size: int
    layers: list[str]
    slices: list[Slice] = field(default_factory=list)
    crossing: list[str] = field(default_factory=list)
    reason: str = ""


class Spaces:
    """The spaces of a model while its graph is followed."""

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._spaces: dict[int, _Space] = {}

    def new(self, size: int, layer: str) -> Span:
        """Open a space of so many units, which a layer makes."""
        number = len(self._parents)
        self._parents.append(number)
        self._spaces[number] = _Space(size, [layer])
        return Span(number, size)

    def join(self, first: Channels, second: Channels) -> bool:
        """Make the spaces of two values that are added one; say whether they can be."""
        if first.axis != second.axis or len(first.spans) != len(second.spans):
            return False
        pairs = list(zip(first.spans, second.spans, strict=True))
        if any(one.size != two.size or one.repeat != two.repeat for one, two in pairs):
            return False
        for one, two in pairs:
            self._join(self._root(one.space), self._root(two.space))
        return True

    def pin(self, channels: Channels | None, reason: str) -> None:
        """Have the units of a value stay, for a reason; the first one counts."""
        for span in () if channels is None else channels.spans:
            space = self._spaces[self._root(span.space)]
            space.reason = space.reason or reason

    def add(self, span: Span, *slices: Slice) -> None:
        """Say where units of a space lie, too."""
        self._spaces[self._root(span.space)].slices.extend(slices)

    def cross(self, span: Span, norm: str) -> None:
        """Say that a norm goes over all units of a space at once."""
        self._spaces[self._root(span.space)].crossing.append(norm)

    def read(self, channels: Channels, module: str, tensor: str, *, dim: int) -> None:
        """Say that a layer reads a value along an axis of its weight."""
        offset = 0
        for span in channels.spans:
            self.add(
                span,
                Slice(
                    module=module,
                    tensor=tensor,
                    dim=dim,
                    role="reader",
                    offset=offset,
                    repeat=span.repeat,
                ),
            )
            offset += span.size * span.repeat

    def found(self) -> FoundUnits:
        """Return what can be removed, and what cannot."""
        groups: dict[str, UnitGroup] = {}
        refusals: dict[str, str] = {}
        for number, space in self._spaces.items():
            if self._root(number) != number:
                continue
            if space.reason:
                refusals |= dict.fromkeys(space.layers, space.reason)
                continue
            groups[space.layers[0]] = UnitGroup(
                name=space.layers[0],
                kind="channels",
                size=space.size,
                slices=tuple(space.slices),
                crossing=tuple(space.crossing),
            )
        return FoundUnits(groups=groups, refusals=refusals)

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            number = self._parents[number]
        return number

    def _join(self, one: int, two: int) -> None:
        if one == two:
            return
        one, two = min(one, two), max(one, two)
        kept, gone = self._spaces[one], self._spaces[two]
        self._parents[two] = one
        kept.layers += gone.layers
        kept.slices += gone.slices
        kept.crossing += gone.crossing
        kept.reason = kept.reason or gone.reason


def axis_of(dim: int, value: torch.Tensor) -> int:
    """Return an axis counted from the front."""
    return dim + value.ndim if dim < 0 else dim
