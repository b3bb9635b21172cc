"""Heads and hidden units inside of attention blocks, which are removed without their surroundings.

A head is a third of its rows each in queries, keys and values, and its columns in the projection;
a hidden unit of the MLP is a row of the first linear layer and a column of the second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fgmf.sparsity.units import Slice, UnitGroup

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.backbones import AttentionBlock


def attention_groups(name: str, block: AttentionBlock) -> Iterator[UnitGroup]:
    """Yield the heads and the hidden units of a block.

    Args:
        name: Of the block in its model.
        block: As built, or with heads removed before.
    """
    prefix = f"{name}." if name else ""
    inner = block.projection.in_features
    width = inner // block.heads
    rows = [
        Slice(
            module=f"{prefix}queries_keys_values",
            tensor=tensor,
            dim=0,
            role="source",
            offset=third * inner,
            repeat=width,
        )
        for tensor in ("weight", "bias")
        for third in range(3)
    ]
    columns = Slice(
        module=f"{prefix}projection", tensor="weight", dim=1, role="reader", repeat=width
    )
    yield UnitGroup(
        name=f"{prefix}queries_keys_values",
        kind="heads",
        size=block.heads,
        slices=(*rows, columns),
    )
    first, second = f"{prefix}mlp.0", f"{prefix}mlp.2"
    yield UnitGroup(
        name=first,
        kind="units",
        size=block.mlp[2].in_features,  # type: ignore[arg-type] # a linear layer's
        slices=(
            Slice(module=first, tensor="weight", dim=0, role="source"),
            Slice(module=first, tensor="bias", dim=0, role="source"),
            Slice(module=second, tensor="weight", dim=1, role="reader"),
        ),
    )
