"""The layer for the front of any image model.

saliency      = predictor(images)                          coarse grid, in [0, 1]
saliency_mask = 1 - (1 - m_min) * upsampled(saliency)      in [m_min, 1]
offer (images, grid, saliency_mask) to the hooks
outputs       = images * saliency_mask

The gradient of a salient pixel is scaled down with the pixel. The mask is a smooth function of the
images and part of the forward pass: whoever differentiates the model differentiates through it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, get_args

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from fgmf.errors import InvalidInput
from fgmf.sgam.predictor import SaliencyPredictor
from fgmf.sgam.recording import SaliencyMaskRecord, Variant
from fgmf.sgam.upsampling import UPSAMPLING_VERSION, check_floor, inverse, saliency_mask_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.sgam.recording import Purpose, SaliencyMaskHook
    from fgmf.types import Bounds, Images

VARIANTS: Final[tuple[Variant, ...]] = get_args(Variant)


@dataclass(frozen=True, kw_only=True)
class SgamConfig:
    """Sizes and range of a :class:`SgamLayer`.

    Attributes:
        channels: Of the images: 1 for grey, 3 for colour, any number.
        bounds: Range of the pixels that come into the layer.
        grid_side: Cells per side of the coarse grid; images have at least as many pixels.
        width: Length of a token of the predictor.
        m_min: Floor of the saliency mask, from 0.02 up to, without, 1.
        upsampling_version: Of the formula from grid to mask.
    """

    channels: int = 1
    bounds: Bounds = (0.0, 1.0)
    grid_side: int = 7
    width: int = 16
    m_min: float = 0.5
    upsampling_version: int = UPSAMPLING_VERSION

    def __post_init__(self) -> None:
        """Refuse what makes no layer.

        Raises:
            InvalidInput: A value outside its range.
        """
        for name in ("channels", "grid_side", "width"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InvalidInput(f"expected {name} as a whole number above 0, got {value!r}")
        low, high = self.bounds
        if not -float("inf") < low < high < float("inf"):
            raise InvalidInput(f"expected bounds (low, high) with low < high, got {self.bounds!r}")
        check_floor(self.m_min)
        if self.upsampling_version != UPSAMPLING_VERSION:
            raise InvalidInput(
                f"expected upsampling_version {UPSAMPLING_VERSION}, got {self.upsampling_version!r}"
            )


class SgamLayer(nn.Module):
    """Saliency-guided adaptive mask: dims what a light network predicts to be salient.

    Args:
        config: Sizes and range.
        seed: Fixes the first weights and the grid of the variant ``random``; the global generator
            is left alone.

    Attributes:
        config: As given.
        variant: ``built`` until :meth:`use_variant` chooses another.

    Source: reconstruction. The document says: a single-pass attention network before the first
        convolution, that predicts a light approximation of Grad-CAM++, and an invertible mask
        that inverts the map. Architecture, grid, floor and the linear inversion are ours.
    Cost: one pass of a network of a few thousand parameters; no extra pass of the model.
    Randomness: none in the forward pass, in training and evaluation alike.
    """

    mean_saliency: torch.Tensor
    mean_count: torch.Tensor
    random_saliency: torch.Tensor

    def __init__(self, config: SgamConfig | None = None, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config = config or SgamConfig()
        side = config.grid_side
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.predictor = SaliencyPredictor(
                channels=config.channels, grid_side=side, width=config.width, bounds=config.bounds
            )
            self.register_buffer("random_saliency", torch.rand(1, 1, side, side))
        self.register_buffer("mean_saliency", torch.zeros(1, 1, side, side))
        self.register_buffer("mean_count", torch.zeros((), dtype=torch.int64))
        self._variant: Variant = "built"
        self._listeners: OrderedDict[int, SaliencyMaskHook] = OrderedDict()

    @property
    def variant(self) -> Variant:
        """Which mask is applied; see :meth:`use_variant`."""
        return self._variant

    def use_variant(self, variant: Variant) -> None:
        """Choose the mask that is applied from now on, for ablations. Not part of `state_dict`.

        Args:
            variant: ``built``: predicted for each image. ``detached``: the same values, but no
                gradient goes through the prediction. ``frozen-mean``: the mean of the predictions
                that :meth:`record_mean_saliency` saw, for every image. ``random``: one uniform
                random grid from the layer's seed, for every image, so that evaluation stays
                deterministic. ``none``: 1 everywhere.

        Raises:
            InvalidInput: There is no such variant, or no mean was recorded for ``frozen-mean``.
        """
        if variant not in VARIANTS:
            raise InvalidInput(f"expected a variant of {', '.join(VARIANTS)}, got {variant!r}")
        if variant == "frozen-mean" and not int(self.mean_count):
            raise InvalidInput(
                "expected a recorded mean for the variant frozen-mean, got none; "
                "call record_mean_saliency(images) first"
            )
        self._variant = variant

    def forward(self, images: Images) -> Images:
        """Images (n, c, h, w) within the bounds to masked images of the same shape and type.

        Raises:
            InvalidInput: Another shape or type than configured.
        """
        return self.applied(images, purpose="forward")

    def applied(self, images: Images, *, purpose: Purpose) -> Images:
        """The forward pass, for `purpose`, which the hooks are told; otherwise the same."""
        grid = self.grid(images)
        height, width = images.shape[2:]
        saliency_mask = saliency_mask_of(
            grid, (height, width), self.config.m_min, self.config.upsampling_version
        )
        if len(self._listeners) > 0:  # compiled code guards the length, not the truth of a dict
            _outside_compiled_code(self._offer, images, grid, saliency_mask, purpose)
        return (images * saliency_mask).to(images.dtype)

    def predicted_logits(self, images: Images) -> torch.Tensor:
        """Logits (n, 1, g, g) of the predicted saliency, whatever the variant; float32 at least."""
        self._check(images)
        weights = self.predictor.stem.weight.dtype
        with torch.autocast(images.device.type, enabled=False):
            logits: torch.Tensor = self.predictor(images.to(weights))
        return logits if logits.dtype == torch.float64 else logits.float()

    def grid(self, images: Images) -> torch.Tensor:
        """Coarse saliency (n, 1, g, g) in [0, 1] of the variant in use, float32 or float64."""
        if self._variant == "built":
            return self.predicted_logits(images).sigmoid()
        if self._variant == "detached":
            return self.predicted_logits(images.detach()).sigmoid().detach()
        self._check(images)
        fixed = {
            "frozen-mean": self.mean_saliency,
            "random": self.random_saliency,
            "none": torch.zeros_like(self.random_saliency),
        }[self._variant]
        one = fixed if fixed.dtype == torch.float64 else fixed.float()
        return one.expand(len(images), -1, -1, -1)

    @torch.no_grad()
    def record_mean_saliency(self, images: Images) -> None:
        """Add the predictions for `images` to the mean of the variant ``frozen-mean``.

        Kept in `state_dict`. Call it on all batches of a data set, after training.
        """
        grids = self.predicted_logits(images).sigmoid()
        count = int(self.mean_count) + len(images)
        step = (grids - self.mean_saliency).sum(dim=0, keepdim=True) / count
        self.mean_saliency.add_(step.to(self.mean_saliency.dtype))
        self.mean_count.fill_(count)

    def inverse(self, outputs: Images, coarse: torch.Tensor) -> Images:
        """Undo the mask from its grid, as offered to the hook: :func:`fgmf.sgam.inverse`."""
        return inverse(outputs, coarse, self.config.m_min, self.config.upsampling_version)

    def register_saliency_mask_hook(self, hook: SaliencyMaskHook) -> RemovableHandle:
        """Offer every mask that is applied from now on to `hook`, before the output leaves.

        Args:
            hook: Called with a :class:`~fgmf.sgam.SaliencyMaskRecord`; what it raises leaves the
                forward pass. Copies of the layer (`copy.deepcopy`, pickle) have no hooks.

        Returns:
            A handle with `remove()`, which is also a context manager.
        """
        handle = RemovableHandle(self._listeners)
        self._listeners[handle.id] = hook
        return handle

    def extra_repr(self) -> str:
        """Configuration and variant."""
        return f"{self.config}, variant={self._variant}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_listeners": OrderedDict()}

    def _offer(
        self, images: Images, grid: torch.Tensor, saliency_mask: torch.Tensor, purpose: Purpose
    ) -> None:
        record = SaliencyMaskRecord(
            inputs=images.detach(),
            coarse=grid.detach().float(),
            saliency_mask=saliency_mask.detach(),
            m_min=self.config.m_min,
            upsampling_version=self.config.upsampling_version,
            variant=self._variant,
            purpose=purpose,
            training=self.training,
        )
        for hook in list(self._listeners.values()):
            hook(record)

    def _check(self, images: Images) -> None:
        expected = self.config.channels
        if images.ndim != 4 or images.shape[1] != expected or not images.is_floating_point():
            raise InvalidInput(
                f"expected floating-point images of shape (n, {expected}, h, w), "
                f"got {images.dtype} of shape {tuple(images.shape)}"
            )
        if min(images.shape[2:]) < self.config.grid_side:
            raise InvalidInput(
                f"expected images of at least {self.config.grid_side} pixels a side, "
                f"got {tuple(images.shape)}; configure a smaller grid_side"
            )


def _call(function: Callable[..., None], *arguments: object) -> None:
    function(*arguments)


_outside_compiled_code: Final = torch.compiler.disable(_call)
