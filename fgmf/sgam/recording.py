"""What the one hook for saliency masks is offered: all that a log needs, in a frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from fgmf.sgam.upsampling import inverse

if TYPE_CHECKING:
    import torch

    from fgmf.types import Images

Variant: TypeAlias = Literal["built", "detached", "frozen-mean", "random", "none"]
Purpose: TypeAlias = Literal["forward", "teaching"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SaliencyMaskRecord:
    """One application of a saliency mask to a batch.

    The tensors are detached and belong to the forward pass: a hook that keeps them beyond its
    call copies them first, because the caller may write into its images.

    Attributes:
        inputs: (n, c, h, w), as they came into the layer.
        coarse: (n, 1, g, g) float32, predicted saliency in [0, 1]: with `m_min` and
            `upsampling_version` enough to recompute the mask and to undo it. Never rounded
            beyond float32.
        saliency_mask: (n, 1, h, w), as it was applied.
        m_min: Floor of the mask.
        upsampling_version: For :func:`fgmf.sgam.saliency_mask_of`.
        variant: Of the layer at that moment.
        purpose: ``teaching`` where the layer's own teacher looked at the images, otherwise
            ``forward``: a training or inference step of the caller.
        training: Whether the layer was in training mode.
    """

    inputs: Images
    coarse: torch.Tensor
    saliency_mask: torch.Tensor
    m_min: float
    upsampling_version: int
    variant: Variant
    purpose: Purpose
    training: bool

    def inverse(self, outputs: Images) -> Images:
        """Return the images whose masked form is `outputs`, from the grid alone."""
        return inverse(outputs, self.coarse, self.m_min, self.upsampling_version)


class SaliencyMaskHook(Protocol):
    """Called once for every mask that is applied, after it was computed.

    What it raises leaves the forward pass: a mask that cannot be logged is not applied silently.
    """

    def __call__(self, record: SaliencyMaskRecord, /) -> None:
        """Take note of `record`."""
