"""The digest of a layer's weights, computed anew for every pass: cheap where nothing moved.

A layer is asked for its tensors each time: it may have got others. What is kept of a tensor is
where its values lie, never the values.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from fgmf.mask_log.tensors import buffer_of, form_of
from fgmf.mask_log.weights import tensor_head

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True)
class WeightsDigest:
    """Computes the digest of a layer's weights, again and again.

    Attributes:
        layer: The layer.
    """

    layer: torch.nn.Module
    _known: dict[str, _KnownTensor] = field(default_factory=dict)

    def now(self) -> str:
        """Return the digest, in hexadecimal: the same as `weights_digest` of `weights_of`.

        Cost: one pass over the values.
        """
        digest, known = hashlib.sha256(), self._known
        for name, tensor in sorted(_tensors_of(self.layer).items()):
            seen = known.get(name)
            if seen is not None and seen.is_still(tensor):
                digest.update(seen.head)
                digest.update(seen.values)
            elif hasattr(tensor, "dtype") and tensor.numel():
                head, values = tensor_head(form_of(name, tensor)), buffer_of(tensor)
                digest.update(head)
                digest.update(values)
                if tensor.is_cpu and tensor.is_contiguous():
                    known[name] = _KnownTensor(
                        tensor, tensor.data_ptr(), tensor.shape, tensor.dtype, head, values
                    )
        return digest.hexdigest()


class _KnownTensor(NamedTuple):
    """A tensor on the host, and a view of the place where its values lie."""

    tensor: torch.Tensor
    place: int
    shape: torch.Size
    dtype: torch.dtype
    head: bytes
    values: Any

    def is_still(self, tensor: torch.Tensor) -> bool:
        """Say whether this is the tensor, and its values are where they were."""
        return (
            tensor is self.tensor
            and tensor.data_ptr() == self.place
            and tensor.shape == self.shape
            and tensor.dtype is self.dtype
            and tensor.is_contiguous()
        )


def _tensors_of(layer: torch.nn.Module) -> dict[str, Any]:
    """Return what `state_dict` does, quicker where every module leaves that to torch."""
    found: dict[str, Any] = {}
    return found if _gather(layer, "", found) else layer.state_dict(keep_vars=True)


def _gather(module: torch.nn.Module, prefix: str, found: dict[str, Any]) -> bool:
    """Add the tensors of a module and of those in it; False where it has a way of its own."""
    kind: Any = type(module)
    if (
        not _is_ordinary(kind)
        or module._state_dict_hooks  # noqa: SLF001 - torch has no other way to see them
        or module._state_dict_pre_hooks  # noqa: SLF001 - as above
    ):
        return False
    for name, parameter in module._parameters.items():  # noqa: SLF001 - as `state_dict` reads them
        if parameter is not None:
            found[prefix + name] = parameter
    for name, buffer in module._buffers.items():  # noqa: SLF001 - as above
        if buffer is not None and name not in module._non_persistent_buffers_set:  # noqa: SLF001 - so
            found[prefix + name] = buffer
    return all(
        child is None or _gather(child, f"{prefix}{name}.", found)
        for name, child in module._modules.items()  # noqa: SLF001 - as above
    )


@lru_cache(maxsize=1024)
def _is_ordinary(kind: type[Any]) -> bool:
    """Say whether modules of a class are written into a `state_dict` as torch does it."""
    from torch import nn

    own = ("state_dict", "_save_to_state_dict", "get_extra_state")
    return all(getattr(kind, name) is getattr(nn.Module, name) for name in own)
