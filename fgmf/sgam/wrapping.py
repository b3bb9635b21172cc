"""A user's model behind the layer: images -> mask -> the model's own normalisation -> model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fgmf.errors import InvalidInput
from fgmf.sgam.layer import SgamConfig, SgamLayer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.utils.hooks import RemovableHandle

    from fgmf.sgam.recording import SaliencyMaskHook
    from fgmf.types import Bounds, Images


class Sgam(nn.Module):
    """An :class:`SgamLayer` in front of any image model.

    `state_dict` has the layer's entries under ``layer.`` and the model's, unchanged, under
    ``backbone.``.

    Args:
        layer: Works on images in its bounds.
        backbone: Maps (normalised) images to whatever it likes; this module returns just that.
        mean: Per channel, subtracted after the mask; None where the backbone takes images in
            bounds.
        std: Per channel, divided by after that.

    Raises:
        InvalidInput: Only one of `mean` and `std`, or not one value per channel.
    """

    mean: torch.Tensor | None
    std: torch.Tensor | None

    def __init__(
        self,
        layer: SgamLayer,
        backbone: nn.Module,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.layer, self.backbone = layer, backbone
        channels = layer.config.channels
        if (mean is None) != (std is None):
            raise InvalidInput(f"expected mean and std, or neither, got mean={mean}, std={std}")
        for name, values in (("mean", mean), ("std", std)):
            column = None if values is None else _per_channel(name, values, channels)
            self.register_buffer(name, column)

    @classmethod
    def wrap(  # noqa: PLR0913 - what a user says about a model, each with a default
        cls,
        model: nn.Module,
        *,
        channels: int,
        bounds: Bounds = (0.0, 1.0),
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        config: SgamConfig | None = None,
        seed: int = 0,
    ) -> Sgam:
        """Put a new layer in front of a model; the model itself is used, not a copy.

        Args:
            model: Any module whose first argument is a batch of images.
            channels: Of its images.
            bounds: Range of the images that the wrapped model takes.
            mean: Where `model` was trained on normalised images: what was subtracted. The layer
                works on images in bounds, so the normalisation moves behind it; drop it from
                where it was done before.
            std: And what was divided by.
            config: Grid, width and floor; its channels and bounds give way to those above.
            seed: Of the layer's first weights.

        Returns:
            A module for images in `bounds`, on the model's device and in its floating-point type.

        Raises:
            InvalidInput: A configuration that makes no layer, or a model that is no module.
        """
        if not isinstance(model, nn.Module):
            raise InvalidInput(f"expected a module to wrap, got {type(model).__name__}")
        layer = SgamLayer(
            replace(config or SgamConfig(), channels=channels, bounds=bounds), seed=seed
        )
        wrapped = cls(layer, model, mean=mean, std=std)
        weight = next((p for p in model.parameters() if p.is_floating_point()), None)
        for part in (wrapped.layer, wrapped.mean, wrapped.std):
            if weight is not None and isinstance(part, nn.Module):
                part.to(device=weight.device, dtype=weight.dtype)
            elif weight is not None and part is not None:
                part.data = part.to(device=weight.device, dtype=weight.dtype)
        wrapped.layer.train(model.training)
        wrapped.training = model.training  # the model's own parts keep their modes
        return wrapped

    def forward(self, images: Images) -> Any:  # noqa: ANN401 - what the backbone returns
        """Images (n, c, h, w) in bounds to the backbone's output on the masked images."""
        return self.backbone(self.normalised(self.layer(images)))

    def normalised(self, images: Images) -> Images:
        """Images in bounds to what the backbone takes."""
        if self.mean is None or self.std is None:
            return images
        return (images - self.mean) / self.std

    def register_saliency_mask_hook(self, hook: SaliencyMaskHook) -> RemovableHandle:
        """The layer's :meth:`SgamLayer.register_saliency_mask_hook`."""
        return self.layer.register_saliency_mask_hook(hook)


def _per_channel(name: str, values: Sequence[float], channels: int) -> torch.Tensor:
    column = torch.as_tensor(values, dtype=torch.get_default_dtype()).reshape(-1)
    good = len(column) == channels and bool(column.isfinite().all())
    if not good or (name == "std" and not bool((column > 0).all())):
        positive = " above 0" if name == "std" else ""
        raise InvalidInput(
            f"expected {name} as {channels} finite numbers{positive}, one per channel, "
            f"got {list(values)}"
        )
    return column.view(1, channels, 1, 1)
