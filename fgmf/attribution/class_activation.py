"""Class activation maps: what a layer holds, weighted by what the class gains from it.

    A = output of the layer, G = gradient of the score there     (k channels on a grid)
    Grad-CAM:     w_k = mean over the grid of G_k
    Grad-CAM++:   a = G^2 / (2 G^2 + max(sum over the grid of A_k, 0) G^3 + tiny)   where G > 0
                  w_k = sum over the grid of a * relu(G_k)
    LayerCAM:     w_k = relu(G_k), position by position
    map = relu(sum_k w_k A_k), bilinear to the image's size, brought to [0, 1]

Source: Selvaraju et al. 2017; Chattopadhay et al. 2018 (arXiv 1710.11063), equations 10 and 19;
Jiang et al. 2021. Deviations: the score is the log-odds unless `output` says otherwise; the sum
of A is kept from being negative, which it can be behind SiLU, GELU and on tokens and would turn
weights around; tiny is relative to the image's largest G^2, because a fixed 1e-6 changes the map
where gradients are small. Tokens are put on their grid, class tokens dropped.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from fgmf.attribution.activations import activations
from fgmf.attribution.images import enlarge, minmax
from fgmf.attribution.layers import AUTOMATIC, Grid, Place, find_place
from fgmf.attribution.method import Answer, Method
from fgmf.attribution.passes import Output, refuse_nonfinite_rows
from fgmf.classifier.memory import batched

if TYPE_CHECKING:
    from collections.abc import Callable

    from fgmf.attribution.request import Request

_TINY = 1e-6


@dataclass(frozen=True, kw_only=True)
class ClassActivation(Method):
    """What the three maps share.

    Attributes:
        layer: Name of a module, as ``named_modules`` says it; ``auto``: by the rule of `layers`.
            The result's parameters say which it was.
        output: ``log-odds``, ``logit`` or ``probability`` of the target class.

    Cost: one forward and one backward pass per image; where the layer is not named once a forward
        and a few backward passes of one image more. Randomness: none.
    """

    layer: str = AUTOMATIC
    output: Output = "log-odds"

    def _answer(self, request: Request) -> Answer:
        place = find_place(request, self.layer)
        maps = activation_maps(request, place, self._combined, output=self.output)
        return Answer(maps=maps, found={"layer": place.name})

    @staticmethod
    @abstractmethod
    def _combined(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """From (n, k, a, b) each to (n, a, b), before the relu."""


@dataclass(frozen=True, kw_only=True)
class GradCam(ClassActivation):
    """Grad-CAM: channels weighted by their mean gradient."""

    name: ClassVar[str] = "grad-cam"

    @staticmethod
    def _combined(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        return grad_cam(activation, gradient)


@dataclass(frozen=True, kw_only=True)
class GradCamPlusPlus(ClassActivation):
    """Grad-CAM++: channels weighted by their positive gradients, position by position."""

    name: ClassVar[str] = "grad-cam-plus-plus"

    @staticmethod
    def _combined(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        return grad_cam_plus_plus(activation, gradient)


@dataclass(frozen=True, kw_only=True)
class LayerCam(ClassActivation):
    """LayerCAM: positions weighted by their own positive gradient."""

    name: ClassVar[str] = "layer-cam"

    @staticmethod
    def _combined(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        return layer_cam(activation, gradient)


def activation_maps(
    request: Request,
    place: Place,
    combine: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    *,
    output: Output,
) -> torch.Tensor:
    """Return maps over the image in [0, 1]: (n, h, w) on the CPU.

    Args:
        request: The images.
        place: Where to look.
        combine: From activations and gradients (n, k, a, b) to maps (n, a, b).
        output: Whose gradient.

    Cost: one forward and one backward pass per image.
    """

    def ask(part: slice) -> torch.Tensor:
        activation, gradient = activations(request, place.layer, part, output=output)
        image = torch.arange(part.start, part.stop)
        refuse_nonfinite_rows(gradient, image, what="gradients at the layer")
        grid = place.grid_over(activation.shape, (request.images.shape[2], request.images.shape[3]))
        coarse = combine(grid.channels_first(activation), grid.channels_first(gradient)).relu()
        return minmax(_over_image(coarse, grid, request.images.shape)).cpu()

    parts = batched(len(request.images), request.classifier.batch_size, ask)
    return torch.cat([maps for _, maps in parts])


def grad_cam(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Weighted sum of channels (n, k, a, b) to (n, a, b), signed."""
    return (gradient.mean(dim=(2, 3), keepdim=True) * activation).sum(dim=1)


def grad_cam_plus_plus(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Weighted sum of channels (n, k, a, b) to (n, a, b), signed where activations are."""
    gain = gradient.relu()
    largest = gain.amax(dim=(1, 2, 3), keepdim=True)
    unit = gain / largest.where(largest > 0, 1)  # in [0, 1]: no square under- or overflows
    held = activation.sum(dim=(2, 3), keepdim=True).clamp_min(0)
    share = unit.square() / (2 * unit.square() + held * unit.pow(3) * largest + _TINY)
    weights = (share * gain).sum(dim=(2, 3), keepdim=True)
    return (weights * activation).sum(dim=1)


def layer_cam(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Sum over channels (n, k, a, b) of activation times positive gradient: (n, a, b)."""
    return (gradient.relu() * activation).sum(dim=1)


def _over_image(coarse: torch.Tensor, grid: Grid, shape: torch.Size) -> torch.Tensor:
    height, width, stride = shape[2], shape[3], grid.stride
    if not stride:
        return enlarge(coarse, height, width)
    # Patches cover the image padded to a whole number of them; the padding is cut off.
    whole = enlarge(coarse, grid.height * stride, grid.width * stride)
    return whole[:, :height, :width]
