"""`SparsityPattern`: which weights of a model may be other than zero, as a value.

    for each tensor:   shape, one bit per weight (1 = kept), SHA-256 over both
    of the whole:      SHA-256 over names and digests, in the order of the names

A pattern says nothing about the values of the weights that are kept. Zeros in a file make it
smaller once compressed, nothing faster: speed comes from `compaction`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from fgmf.canonical import json_digest
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn


@dataclass(frozen=True, kw_only=True)
class TensorPattern:
    """Which elements of one tensor are kept.

    Attributes:
        shape: Of the tensor.
        bits: One bit per element in row-major order, the first in the highest bit of the first
            byte, 1 where the element is kept; zeros fill up the last byte.
    """

    shape: tuple[int, ...]
    bits: bytes

    def __post_init__(self) -> None:
        """Refuse bits that are not those of the shape.

        Raises:
            InvalidInput: Too many or too few bytes, or a bit behind the last element.
        """
        count = self.element_count
        spare = -count % 8
        wrong = len(self.bits) != (count + spare) // 8
        if wrong or (spare and self.bits[-1] & ((1 << spare) - 1)):
            message = f"expected {count} bits for shape {self.shape}, and zeros behind them"
            raise InvalidInput(f"{message}, got {len(self.bits)} bytes")

    @classmethod
    def of(cls, kept: torch.Tensor) -> TensorPattern:
        """Make a pattern.

        Args:
            kept: Any shape; whatever is not zero or False is kept.
        """
        flags = kept.detach().cpu().ne(0).reshape(-1).numpy()
        return cls(shape=tuple(kept.shape), bits=np.packbits(flags).tobytes())

    @property
    def element_count(self) -> int:
        """Elements of the tensor."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def kept_count(self) -> int:
        """Elements that are kept."""
        return int.from_bytes(self.bits, "big").bit_count()

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` over shape and bits."""
        return "sha256:" + hashlib.sha256(f"{self.shape}:".encode() + self.bits).hexdigest()

    def kept(self) -> torch.Tensor:
        """Return the pattern as booleans of the tensor's shape, on the CPU."""
        flags = np.unpackbits(np.frombuffer(self.bits, dtype=np.uint8), count=self.element_count)
        return torch.from_numpy(flags.astype(bool)).reshape(self.shape)


@dataclass(frozen=True, kw_only=True)
class SparsityPattern:
    """Which weights of a model are kept, tensor by tensor.

    Attributes:
        tensors: By the name of the parameter; parameters that are not named are kept whole.
    """

    tensors: Mapping[str, TensorPattern]

    @classmethod
    def of(cls, kept: Mapping[str, torch.Tensor]) -> SparsityPattern:
        """Make a pattern from booleans by the name of the parameter."""
        return cls(tensors={name: TensorPattern.of(flags) for name, flags in sorted(kept.items())})

    @classmethod
    def of_zeros(cls, model: nn.Module) -> SparsityPattern:
        """Return the pattern of the exact zeros that a model has; tensors without are left out."""
        found = {n: p for n, p in model.named_parameters() if bool(p.detach().eq(0).any())}
        return cls.of(found)

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` over the names and digests of the tensors."""
        return json_digest({name: entry.digest for name, entry in self.tensors.items()})

    @property
    def removed_count(self) -> int:
        """Weights that are zero."""
        return sum(entry.element_count - entry.kept_count for entry in self.tensors.values())

    def share_removed(self, model: nn.Module) -> float:
        """Return the share of a model's parameters that the pattern sets to zero."""
        return self.removed_count / sum(p.numel() for p in model.parameters())

    def kept(self) -> dict[str, torch.Tensor]:
        """Return the patterns as booleans, by name."""
        return {name: entry.kept() for name, entry in self.tensors.items()}

    def joined(self, other: SparsityPattern) -> SparsityPattern:
        """Return the pattern of what both keep.

        Raises:
            InvalidInput: A tensor has another shape in the other.
        """
        mine, theirs = self.kept(), other.kept()
        for name in mine.keys() & theirs.keys():
            if mine[name].shape != theirs[name].shape:
                raise InvalidInput(
                    f"expected patterns of one shape for {name}, got "
                    f"{tuple(mine[name].shape)} and {tuple(theirs[name].shape)}"
                )
            mine[name] = mine[name] & theirs[name]
        return SparsityPattern.of({**theirs, **mine})

    @torch.no_grad()
    def apply(self, model: nn.Module) -> None:
        """Set the weights that are not kept to zero, in place.

        Raises:
            InvalidInput: The model has no such parameter, or one of another shape; nothing was
                changed then.
        """
        for parameter, entry in self._matched(model):
            parameter.mul_(entry.kept().to(parameter.device, parameter.dtype))
            # NaN times zero is NaN: what is removed is zero whatever it was.
            parameter[~entry.kept().to(parameter.device)] = 0

    def violations(self, model: nn.Module) -> dict[str, int]:
        """Return, by name, how many weights are not zero although they should be; empty: it holds.

        Raises:
            InvalidInput: The model has no such parameter, or one of another shape.
        """
        found = {}
        names = dict(zip(self.tensors, self._matched(model), strict=True))
        for name, (parameter, entry) in names.items():
            moved = parameter.detach().cpu().ne(0) & ~entry.kept()
            if bool(moved.any()):
                found[name] = int(moved.sum())
        return found

    def differences(self, other: SparsityPattern) -> dict[str, str]:
        """Compare with another pattern.

        Returns:
            By the name of the tensor, in words, what differs; empty if the two are equal.
        """
        found = {}
        for name in sorted(self.tensors.keys() | other.tensors.keys()):
            mine, theirs = self.tensors.get(name), other.tensors.get(name)
            if mine is None or theirs is None:
                found[name] = "only in the first" if theirs is None else "only in the second"
            elif mine.shape != theirs.shape:
                found[name] = f"shape {mine.shape} and {theirs.shape}"
            elif mine.bits != theirs.bits:
                count = int((mine.kept() ^ theirs.kept()).sum())
                found[name] = f"{count} of {mine.element_count} weights"
        return found

    def _matched(self, model: nn.Module) -> list[tuple[nn.Parameter, TensorPattern]]:
        parameters = dict(model.named_parameters())
        found = []
        for name, entry in self.tensors.items():
            parameter = parameters.get(name)
            got = "none" if parameter is None else f"shape {tuple(parameter.shape)}"
            if parameter is None or tuple(parameter.shape) != entry.shape:
                message = f"expected a parameter {name} of shape {entry.shape}, got {got}"
                raise InvalidInput(f"{message}; the pattern is that of another model")
            found.append((parameter, entry))
        return found
