"""What the layer's predictor learns: the detached class activation map of the model behind it.

every r steps, for the images of the batch:
    A = maps of one module of the backbone,  G = d logit of the class / dA      evaluation mode
    LayerCAM     map = relu(sum_k relu(G_k) A_k)
    Grad-CAM++   alpha = G^2 / (2 G^2 + (sum A) G^3 + e max G^2) where G > 0, with sum A >= 0
                 map = relu(sum_k w_k A_k),  w_k = sum_ij alpha relu(G_k)
    target = minmax(map), brought onto the predictor's grid; an image whose map is all one value
             teaches nothing
    loss   = weight * mean binary cross-entropy(predicted saliency, target)     predictor only
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from fgmf.errors import InvalidInput
from fgmf.sgam.cam_layers import as_maps, find_cam_layer
from fgmf.sgam.upsampling import resized

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fgmf.sgam.wrapping import Sgam
    from fgmf.types import Images, Labels

CamMethod: TypeAlias = Literal["layer-cam", "grad-cam++"]

_RELATIVE_EPSILON: Final = 1e-6
_TINY: Final = 1e-30


@dataclass(frozen=True, kw_only=True, eq=False)
class SaliencyTarget:
    """Maps to be learned.

    Attributes:
        grid: (n, 1, g, g) in [0, 1], without gradient; zeros where there is no map.
        usable: (n,) bool: the map has a largest and a smallest value.
    """

    grid: torch.Tensor
    usable: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class SaliencyTeacher:
    """Teaches the predictor of an :class:`~fgmf.sgam.Sgam`.

    Attributes:
        method: ``layer-cam`` (light) or ``grad-cam++``.
        layer: Name of the backbone's module that maps are read from; None looks for one at each
            use (1 forward pass of one image).
        every: Steps from one lesson to the next.
        weight: Of the teaching loss beside the model's own.

    Source: Jiang et al. (2021), LayerCAM; Chattopadhyay et al. (2018), Grad-CAM++, with the
        epsilon relative to the largest squared gradient and negative sums of maps taken as 0.
        The document names a light approximation of Grad-CAM++ as the target; binary
        cross-entropy, the interval and LayerCAM as the default are our reconstruction.
    """

    method: CamMethod = "layer-cam"
    layer: str | None = None
    every: int = 8
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what teaches nothing.

        Raises:
            InvalidInput: A value outside its range.
        """
        if self.method not in ("layer-cam", "grad-cam++"):
            raise InvalidInput(f"expected method layer-cam or grad-cam++, got {self.method!r}")
        if not isinstance(self.every, int) or self.every < 1:
            raise InvalidInput(f"expected every as a whole number above 0, got {self.every!r}")
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise InvalidInput(f"expected a weight above 0, got {self.weight!r}")

    def due(self, step: int) -> bool:
        """Return whether `step`, counted from 0, has a lesson."""
        return step % self.every == 0

    def loss(self, sgam: Sgam, images: Images, labels: Labels, *, step: int) -> torch.Tensor:
        """Return the weighted teaching loss of a batch: a scalar to be added to the model's own.

        Args:
            sgam: Layer and a backbone that returns logits (n, classes). Only the predictor's
                parameters get a gradient.
            images: (n, c, h, w) in bounds.
            labels: (n,) int64: the classes whose maps are taught.
            step: Of the training, from 0; zero is returned, and nothing computed, between
                lessons.

        Raises:
            InvalidInput: As :func:`saliency_target`, in a lesson.

        Cost: in a lesson 1 forward and 1 backward pass per image, down to the layer of the maps,
            and a pass of the predictor; otherwise none.
        """
        if not self.due(step):
            return torch.zeros((), device=images.device)
        return self.weight * teaching_loss(sgam, images, self.target(sgam, images, labels))

    def target(self, sgam: Sgam, images: Images, labels: Labels) -> SaliencyTarget:
        """Return what the predictor should say about `images`; see :func:`saliency_target`."""
        return saliency_target(sgam, images, labels, method=self.method, layer=self.layer)


def saliency_target(
    sgam: Sgam,
    images: Images,
    labels: Labels,
    *,
    method: CamMethod = "layer-cam",
    layer: str | None = None,
) -> SaliencyTarget:
    """Compute the class activation maps of the model as it is now, mask included.

    Args:
        sgam: Run in evaluation mode, and put back as it was; no `.grad` is left behind. Its
            backbone returns logits (n, classes).
        images: (n, c, h, w) in bounds.
        labels: (n,) int64.
        method: ``layer-cam`` or ``grad-cam++``.
        layer: Name of a module of the backbone; None chooses one
            (:func:`fgmf.sgam.find_cam_layer`).

    Returns:
        Maps on the layer's grid.

    Raises:
        InvalidInput: A name that the backbone does not have, a module without maps or one that
            runs more than once in a forward pass, or a backbone that returns no logits.

    Cost: 1 forward pass, 1 backward pass down to the module. The mask is offered to the hooks
        with the purpose ``teaching``.
    """
    with _evaluating(sgam), torch.enable_grad():
        with torch.no_grad():
            masked = sgam.normalised(sgam.layer.applied(images, purpose="teaching"))
        name = find_cam_layer(sgam.backbone, masked) if layer is None else layer
        activations, returned = _with_activations(sgam.backbone, name, masked)
        logits = _logits(returned, len(images))
        chosen = logits.gather(1, labels.view(-1, 1).to(logits.device)).sum()
        (gradient,) = torch.autograd.grad(chosen, activations)
    kind = torch.promote_types(activations.dtype, torch.float32)  # squares underflow in half
    maps, slopes = (as_maps(part.to(kind)) for part in (activations.detach(), gradient))
    rule = _layer_cam if method == "layer-cam" else _grad_cam_pp
    with torch.autocast(images.device.type, enabled=False):
        return _on_grid(rule(maps, slopes), sgam.layer.config.grid_side)


def teaching_loss(sgam: Sgam, images: Images, target: SaliencyTarget) -> torch.Tensor:
    """Binary cross-entropy of the predicted saliency against the target, over usable images.

    Returns:
        A scalar; zero, with a gradient of zero, where no image is usable.

    Cost: one pass of the predictor.
    """
    logits = sgam.layer.predicted_logits(images.detach())
    losses = binary_cross_entropy_with_logits(
        logits, target.grid.to(logits.dtype), reduction="none"
    )
    each = losses.mean(dim=(1, 2, 3)) * target.usable
    return each.sum() / target.usable.sum().clamp(min=1)


def _layer_cam(maps: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
    return (slopes.relu() * maps).sum(dim=1, keepdim=True).relu()


def _grad_cam_pp(maps: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
    positive = slopes.relu()
    squares = positive.square()
    totals = maps.sum(dim=(2, 3), keepdim=True).clamp(min=0.0)
    largest = squares.amax(dim=(1, 2, 3), keepdim=True)
    below = 2 * squares + totals * squares * positive + _RELATIVE_EPSILON * largest
    shares = squares / below.clamp(min=_TINY)
    weights = (shares * positive).sum(dim=(2, 3), keepdim=True)
    return (weights * maps).sum(dim=1, keepdim=True).relu()


def _on_grid(maps: torch.Tensor, side: int) -> SaliencyTarget:
    low = maps.amin(dim=(1, 2, 3), keepdim=True)
    span = maps.amax(dim=(1, 2, 3), keepdim=True) - low
    usable = span.flatten() > _TINY
    scaled = torch.where(usable.view(-1, 1, 1, 1), (maps - low) / span.clamp(min=_TINY), 0.0)
    return SaliencyTarget(grid=resized(scaled, (side, side)).clamp(0.0, 1.0), usable=usable)


def _with_activations(
    backbone: nn.Module, name: str, images: Images
) -> tuple[torch.Tensor, object]:
    """The output of the named module, as a leaf of the graph, and what the backbone returns."""
    kept: list[torch.Tensor] = []

    def cut(_module: nn.Module, _inputs: object, output: object) -> torch.Tensor:
        if not isinstance(output, torch.Tensor):
            raise InvalidInput(f"expected a tensor from {name!r}, got {type(output).__name__}")
        kept.append(output.detach().requires_grad_())
        return kept[-1].clone()  # what follows may work in place

    try:
        module = backbone.get_submodule(name)
    except AttributeError as error:
        raise InvalidInput(
            f"expected the name of a module of the backbone, got {name!r}"
        ) from error
    handle = module.register_forward_hook(cut)
    try:
        returned = backbone(images)
    finally:
        handle.remove()
    if len(kept) > 1:
        raise InvalidInput(
            f"expected one use of {name!r} in a forward pass, got {len(kept)}: where a module runs "
            "again, such as once per time step of a spiking network, there is no one map; name a "
            "module that runs once (layer=...), or train without a saliency mask"
        )
    if not kept:
        raise InvalidInput(
            f"expected {name!r} to run in a forward pass, but it did not; name another layer"
        )
    return kept[0], returned


def _logits(returned: object, count: int) -> torch.Tensor:
    """What the backbone returned, if it is a row of logits for each of `count` images."""
    if isinstance(returned, torch.Tensor) and returned.ndim == 2 and len(returned) == count:
        return returned
    kind = type(returned).__name__
    got = f"{kind} {tuple(returned.shape)}" if isinstance(returned, torch.Tensor) else kind
    raise InvalidInput(
        f"expected logits ({count}, classes) from the backbone, whose classes the teacher takes "
        f"gradients of, got {got}; wrap a module that returns the logits alone"
    )


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards every submodule is in the mode that it was in."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
