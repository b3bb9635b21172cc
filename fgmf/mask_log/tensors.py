"""From what a layer offers to bytes: nothing is rounded, and nothing is kept of the inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fgmf.errors import InvalidInput
from fgmf.mask_log.packs import SampleBatch
from fgmf.mask_log.rows import ArrayForm, ItemBytes, Layout, id_width_of
from fgmf.mask_log.weights import StoredTensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from fgmf.mask_log.offers import OfferedMask
    from fgmf.types import Json


_SAID = ("m_min", "upsampling_version", "variant")
"""What an offer may say about its mask beside the grid."""


@dataclass(kw_only=True)
class BatchMaker:
    """Makes batches of what one layer offers.

    Attributes:
        name: Name of the layer in its model.
        inputs: Whether inputs are kept, or only their digests.
    """

    name: str
    inputs: bool = False
    _layouts: dict[tuple[Any, ...], Layout] = field(default_factory=dict)

    def make(self, offer: OfferedMask, ids: Sequence[int | str]) -> SampleBatch:
        """Make a batch.

        Args:
            offer: What the layer offers.
            ids: One for each sample.

        Raises:
            InvalidInput: Not one id for each sample, or tensors of a type that cannot be logged.

        Cost: a copy of tensors that are on another device or not contiguous.
        """
        count = len(offer.inputs)
        if len(ids) != count:
            raise InvalidInput(f"expected {count} sample ids, one for each input, got {len(ids)}")
        coarse = getattr(offer, "coarse", None)
        if coarse is not None:
            name, form, values = "grid", _form("grid", coarse), _bytes(coarse)
        else:
            name = "saliency_mask"
            form, values = _mask(offer.saliency_mask)
        arrays = {name: values}
        forms = [form]
        given = _bytes(offer.inputs)
        if self.inputs:
            arrays["input"] = given
            forms.append(_form("input", offer.inputs))
        layout = self._layout(offer, id_width_of(ids), tuple(forms))  # the same object each time
        return SampleBatch(layout=layout, ids=ids, inputs=given, arrays=arrays)

    def _layout(self, offer: OfferedMask, id_bytes: int, forms: tuple[ArrayForm, ...]) -> Layout:
        said = {name: getattr(offer, name, None) for name in _SAID}
        size = tuple(offer.saliency_mask.shape[2:])
        key = (id_bytes, forms, offer.inputs.dtype, offer.inputs.shape[1:], size, *said.values())
        if key not in self._layouts:
            facts: dict[str, Json] = {"name": self.name, "size": list(size)}
            facts |= {name: value for name, value in said.items() if value is not None}
            self._layouts[key] = Layout(
                id_bytes=id_bytes,
                input=_form("input", offer.inputs),
                arrays=forms,
                layer=facts,
            )
        return self._layouts[key]


def weights_of(layer: torch.nn.Module) -> list[StoredTensor]:
    """Return all parameters and buffers of a layer that its `state_dict` has."""
    return [
        StoredTensor(form_of(name, t), bytes(_bytes(t)))
        for name, t in sorted(layer.state_dict().items())
        if hasattr(t, "dtype") and t.numel()
    ]


def form_of(name: str, tensor: torch.Tensor) -> ArrayForm:
    """Return the form of a whole tensor."""
    return ArrayForm(name=name, dtype=_dtype_name(tensor.dtype), shape=tuple(tensor.shape))


def _form(name: str, batch: torch.Tensor) -> ArrayForm:
    return _known_form(name, batch.dtype, batch.shape[1:])


@lru_cache(maxsize=256)
def _known_form(name: str, dtype: torch.dtype, shape: torch.Size) -> ArrayForm:
    return ArrayForm(name=name, dtype=_dtype_name(dtype), shape=tuple(shape))


def _dtype_name(dtype: torch.dtype) -> str:
    name = str(dtype).removeprefix("torch.")
    if name not in ItemBytes:
        raise InvalidInput(f"expected tensors of {', '.join(ItemBytes)}, got {name}")
    return name


def _bytes(tensor: torch.Tensor) -> memoryview:
    return memoryview(buffer_of(tensor)).cast("B")


def buffer_of(tensor: torch.Tensor) -> Any:  # noqa: ANN401 - NumPy's arrays are buffers, untyped here
    """Return the values of a tensor; no copy where they lie on the host."""
    import torch

    dense = tensor.detach() if tensor.requires_grad else tensor
    if not (tensor.is_cpu and tensor.is_contiguous()):
        dense = dense.cpu().contiguous()
    if tensor.dtype is torch.bfloat16:  # NumPy has no such type
        dense = dense.reshape(-1).view(torch.uint8)
    return dense.numpy()


def _mask(batch: torch.Tensor) -> tuple[ArrayForm, memoryview]:
    """Bits where every value is 0 or 1; the mask as it is where not."""
    binary = (batch == 0) | (batch == 1)
    if not bool(binary.all()):
        return _form("saliency_mask", batch), _bytes(batch)
    import numpy as np

    flat = (batch.detach() != 0).cpu().reshape(len(batch), -1).numpy()
    form = ArrayForm(name="saliency_mask", dtype="bits", shape=tuple(batch.shape[1:]))
    packed: Any = np.packbits(flat, axis=1).reshape(-1)
    return form, memoryview(packed)
