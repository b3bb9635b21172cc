"""Which indices of which tensors stay: a value, carried out on a model of the original shapes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from fgmf.backbones import AttentionBlock
from fgmf.canonical import canonical_json, write_atomically
from fgmf.errors import InvalidInput, StaleEvidence
from fgmf.sparsity.padded_norm import PaddedGroupNorm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from fgmf.sparsity.units import FoundUnits

FORMAT: Final = "fgmf-removal-plan/1"
_COUNTS: Final = {
    ("weight", 0): ("out_channels", "out_features", "num_features", "num_channels"),
    ("weight", 1): ("in_channels", "in_features"),
}
"""What a layer says about itself, and which axis of its weight that is."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """One axis of one tensor that becomes shorter.

    Attributes:
        tensor: Its name in the model's state.
        dim: The axis.
        length: Before.
        kept: Indices that stay, ascending.
    """

    tensor: str
    dim: int
    length: int
    kept: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class RemovalPlan:
    """All cuts of a compaction.

    Attributes:
        cuts: Sorted by tensor and axis.
        norms: Group norms over all channels, which go on counting the removed ones.
        heads: By attention block, how many heads are left.
    """

    cuts: tuple[Cut, ...] = ()
    norms: tuple[str, ...] = ()
    heads: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls, model: nn.Module, found: FoundUnits, dead: Mapping[str, Sequence[int]]
    ) -> RemovalPlan:
        """Make the plan that takes units out, by the name of their group."""
        state, gone, norms = model.state_dict(), dict[tuple[str, int], set[int]](), set[str]()
        heads = {}
        for name, units in dead.items():
            group = found.groups[name]
            for entry in group.slices:
                gone.setdefault((entry.name, entry.dim), set()).update(entry.indices(units))
            norms.update(group.crossing)
            if group.kind == "heads":
                heads[name.rpartition(".")[0]] = group.size - len(units)
        cuts = []
        for (tensor, dim), indices in sorted(gone.items()):
            length = state[tensor].shape[dim]
            kept = tuple(at for at in range(length) if at not in indices)
            cuts.append(Cut(tensor=tensor, dim=dim, length=length, kept=kept))
        return cls(cuts=tuple(cuts), norms=tuple(sorted(norms)), heads=heads)

    def apply(self, model: nn.Module) -> None:
        """Make the cuts, in place.

        Args:
            model: Of the shapes that the plan was made for, with any weights.

        Raises:
            InvalidInput: A tensor is missing or has another length; nothing was changed then.
        """
        state = model.state_dict()
        for cut in self.cuts:
            have = state.get(cut.tensor)
            if have is None or have.ndim <= cut.dim or have.shape[cut.dim] != cut.length:
                got = "none" if have is None else str(tuple(have.shape))
                message = f"expected {cut.tensor} with {cut.length} entries along {cut.dim}"
                raise InvalidInput(f"{message}, got {got}; the plan is that of another model")
        modules = dict(model.named_modules())
        for name in self.norms:
            kept = next(cut.kept for cut in self.cuts if cut.tensor == f"{name}.weight")
            parent, _, child = name.rpartition(".")
            setattr(modules[parent], child, PaddedGroupNorm(modules[name], list(kept)))
        for cut in self.cuts:
            owner, _, tensor = cut.tensor.rpartition(".")
            if owner not in self.norms:
                _shorten(modules[owner], tensor, cut)
        for name, count in self.heads.items():
            block = modules[name]
            if isinstance(block, AttentionBlock):
                block.heads = count

    def as_document(self) -> dict[str, Any]:
        """Return the plan as JSON."""
        cuts = [
            {"tensor": c.tensor, "dim": c.dim, "length": c.length, "kept": list(c.kept)}
            for c in self.cuts
        ]
        return {
            "format": FORMAT,
            "cuts": cuts,
            "norms": list(self.norms),
            "heads": dict(self.heads),
        }

    def save(self, path: Path) -> None:
        """Write the plan as JSON; with the smaller model's weights it makes that model again."""
        write_atomically(path, canonical_json(self.as_document()))

    @classmethod
    def load(cls, path: Path) -> RemovalPlan:
        """Read a plan.

        Raises:
            StaleEvidence: The file is none.
            OSError: The file cannot be read.
        """
        try:
            document = json.loads(path.read_bytes())
            if document.pop("format") != FORMAT:
                raise ValueError("another format")
            cuts = tuple(
                Cut(
                    tensor=str(entry["tensor"]),
                    dim=int(entry["dim"]),
                    length=int(entry["length"]),
                    kept=tuple(int(at) for at in entry["kept"]),
                )
                for entry in document["cuts"]
            )
            heads = {str(name): int(count) for name, count in document["heads"].items()}
            return cls(cuts=cuts, norms=tuple(map(str, document["norms"])), heads=heads)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message = f"expected a removal plan of format {FORMAT} in {path}"
            raise StaleEvidence(f"{message}, got: {error}") from error


def _shorten(module: nn.Module, tensor: str, cut: Cut) -> None:
    values: torch.Tensor = getattr(module, tensor)
    index = torch.tensor(cut.kept, device=values.device)
    shorter = values.detach().index_select(cut.dim, index).clone()
    if isinstance(values, nn.Parameter):
        setattr(module, tensor, nn.Parameter(shorter, requires_grad=values.requires_grad))
    else:
        setattr(module, tensor, shorter)
    for name in _COUNTS.get((tensor, cut.dim), ()):
        if hasattr(module, name):
            setattr(module, name, len(cut.kept))
    groups = getattr(module, "groups", 1)
    if groups > 1 and (tensor, cut.dim) == ("weight", 0):  # a filter for each channel
        module.groups = module.in_channels = len(cut.kept)  # type: ignore[assignment]
    if isinstance(module, nn.GroupNorm):
        module.num_channels = len(cut.kept)
