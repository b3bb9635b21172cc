"""Products of the Hessian of each image's loss with directions in pixel space.

g(x) = gradient of the loss,  H = its Jacobian, one per image; all products of a batch at once
    double-backward        H v = d <g(x), v> / dx                       Pearlmutter's trick, exact
    forward-over-reverse   H v = derivative of g along v                exact
    finite-difference      H v ~ (g(x + h v) - g(x)) / h                g(x) is used again
    central-difference     H v ~ (g(x + h v) - g(x - h v)) / (2 h)

On networks with ReLU the exact Hessian of the cross-entropy sees the softmax alone,
J'(diag p - p p')J: positive semi-definite everywhere, whatever the network does a step away. There
a finite step is what measures; on smooth networks (GELU, SiLU) both do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch.nn.functional import cross_entropy

from fgmf.curvature.passes import (
    GRADIENT_COST,
    HVP_MODES,
    PRODUCT_COSTS,
    PassCount,
    second_derivatives,
)
from fgmf.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from fgmf.curvature.passes import HvpMode
    from fgmf.types import Images, Labels

    LossOfImages: TypeAlias = Callable[[Images], torch.Tensor]  # (n, c, h, w) to (n,)


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageLoss:
    """The cross-entropy of each image, as a function of the images.

    Attributes:
        model: Maps images to logits, each row of them from its image alone: in evaluation mode
            where it has batch norm or dropout.
        labels: (n,) int64.
    """

    model: nn.Module
    labels: Labels

    def __call__(self, images: Images) -> torch.Tensor:
        """Images (n, c, h, w) to losses (n,).

        Raises:
            InvalidInput: Not one label for each image.
        """
        if len(images) != len(self.labels):
            raise InvalidInput(
                f"expected {len(self.labels)} images, one for each label of this loss, got "
                f"{len(images)}; give the loss the labels of these images"
            )
        return cross_entropy(self.model(images), self.labels, reduction="none")


class InputCurvature:
    """Gradient and Hessian of each image's loss at one batch of images.

    The gradient is computed once, at its first use, and every product uses it again.

    Args:
        loss_of: Maps images to losses (n,), each from its own image alone.
        images: (n, c, h, w), floating point; not changed.
        mode: How products are computed.
        step: h of the difference modes, a multiple of the directions.
        differentiable: Keep the graph to the parameters in gradients and products, for training
            through them. Not with ``forward-over-reverse``.

    Raises:
        InvalidInput: A mode or step that there is not, or images of another shape.

    Cost: see :mod:`fgmf.curvature.passes`; `cost` says what was spent so far.
    Randomness: none.
    Source: Pearlmutter (1994); the difference with the gradient used again is the one that
        SCORPIO (arXiv 2009.04923) names.
    """

    def __init__(
        self,
        loss_of: LossOfImages,
        images: Images,
        *,
        mode: HvpMode = "double-backward",
        step: float = 1.0,
        differentiable: bool = False,
    ) -> None:
        _check(images, mode, step)
        if differentiable and mode == "forward-over-reverse":
            raise InvalidInput(
                "expected another mode than forward-over-reverse for differentiable products; "
                'use mode="double-backward"'
            )
        self.mode: HvpMode = mode
        self.step = step
        self._loss_of, self._differentiable = loss_of, differentiable
        self._images = images.detach().clone().requires_grad_()
        self._found: tuple[torch.Tensor, Images] | None = None  # losses and gradient
        self._cost = PassCount()

    @property
    def cost(self) -> PassCount:
        """Passes so far, over the batch."""
        return self._cost

    @property
    def images(self) -> Images:
        """Where it is measured; without gradient."""
        return self._images.detach()

    @property
    def losses(self) -> torch.Tensor:
        """(n,), from the pass that gave the gradient; with a graph only if differentiable."""
        losses = self._point()[0]
        return losses if self._differentiable else losses.detach()

    @property
    def gradient(self) -> Images:
        """(n, c, h, w); with a graph only if differentiable."""
        gradient = self._point()[1]
        return gradient if self._differentiable else gradient.detach()

    def product(self, directions: Images) -> Images:
        """Hessian of each image times its direction.

        Args:
            directions: (n, c, h, w), of the images' shape and type.

        Returns:
            (n, c, h, w). Zero where the gradient does not depend on the images at all.

        Raises:
            InvalidInput: Directions of another shape or type.
            GradientUnavailable: An exact mode on a model without second derivative.

        Cost: `PRODUCT_COSTS[mode]`, and once that of the gradient in the modes that need it.
        """
        return self._product(directions, keep_graph=self._differentiable)

    def plain_product(self, directions: Images) -> Images:
        """The same as :meth:`product`, without a graph in any case, and as cheap as that is."""
        return self._product(directions, keep_graph=False).detach()

    def _product(self, directions: Images, *, keep_graph: bool) -> Images:
        if not isinstance(directions, torch.Tensor):
            kind = type(directions).__name__
            raise InvalidInput(f"expected directions as a tensor like the images, got {kind}")
        if (directions.shape, directions.dtype) != (self._images.shape, self._images.dtype):
            raise InvalidInput(
                f"expected directions {self._images.dtype} of shape {tuple(self._images.shape)}, "
                f"like the images, got {directions.dtype} of shape {tuple(directions.shape)}"
            )
        product = {
            "double-backward": self._double_backward,
            "forward-over-reverse": self._forward_over_reverse,
            "finite-difference": self._finite_difference,
            "central-difference": self._central_difference,
        }[self.mode](directions, keep_graph=keep_graph)
        self._cost += PRODUCT_COSTS[self.mode]
        return product

    def _point(self) -> tuple[torch.Tensor, Images]:
        if self._found is None:
            keep = self._differentiable or self.mode == "double-backward"
            self._found = self._gradient_at(self._images, keep_graph=keep)
            self._cost += GRADIENT_COST
        return self._found

    def _gradient_at(self, at: Images, *, keep_graph: bool) -> tuple[torch.Tensor, Images]:
        with torch.enable_grad(), second_derivatives():
            losses = self._loss_of(at)
            if losses.shape != (len(at),):
                raise InvalidInput(
                    f"expected one loss per image, shape ({len(at)},), got {tuple(losses.shape)}"
                )
            (gradient,) = torch.autograd.grad(losses.sum(), at, create_graph=keep_graph)
        return losses, gradient

    def _double_backward(self, directions: Images, *, keep_graph: bool) -> Images:
        gradient = self._point()[1]
        if not gradient.requires_grad:  # the loss is linear
            return torch.zeros_like(directions)
        with torch.enable_grad(), second_derivatives():
            (product,) = torch.autograd.grad(
                gradient,
                self._images,
                grad_outputs=directions,
                retain_graph=True,
                create_graph=keep_graph,
                allow_unused=True,
                materialize_grads=True,
            )
        return product

    def _forward_over_reverse(self, directions: Images, *, keep_graph: bool) -> Images:  # noqa: ARG002 - refused on making
        def gradient_and_losses(at: Images) -> tuple[Images, torch.Tensor]:
            losses = self._loss_of(at)
            return losses.sum(), losses

        with second_derivatives():
            found = torch.func.jvp(
                torch.func.grad(gradient_and_losses, has_aux=True),
                (self._images.detach(),),
                (directions.detach(),),
            )
        (gradient, losses), (product, _) = found[0], found[1]
        self._found = self._found or (losses.detach(), gradient.detach())
        plain: Images = product.detach()
        return plain

    def _finite_difference(self, directions: Images, *, keep_graph: bool) -> Images:
        here = self.gradient if keep_graph else self.gradient.detach()
        there = self._moved(directions, self.step, keep_graph=keep_graph)
        return (there - here) / self.step

    def _central_difference(self, directions: Images, *, keep_graph: bool) -> Images:
        ahead, behind = (
            self._moved(directions, h, keep_graph=keep_graph) for h in (self.step, -self.step)
        )
        return (ahead - behind) / (2 * self.step)

    def _moved(self, directions: Images, step: float, *, keep_graph: bool) -> Images:
        at = (self._images + step * directions).detach().requires_grad_()
        return self._gradient_at(at, keep_graph=keep_graph)[1]


def curvature_along(curvature: InputCurvature, directions: Images) -> torch.Tensor:
    """Second derivative of each image's loss along its direction: v'Hv / v'v.

    Args:
        curvature: At a batch of images.
        directions: (n, c, h, w); their length does not matter in the exact modes.

    Returns:
        (n,); 0 for a direction of length 0.

    Cost: one product.
    """
    length = directions.square().flatten(1).sum(dim=1)
    along = (directions * curvature.product(directions)).flatten(1).sum(dim=1)
    return along / length.clamp(min=torch.finfo(length.dtype).tiny)


def _check(images: Images, mode: str, step: float) -> None:
    if mode not in HVP_MODES:
        raise InvalidInput(f"expected a mode of {', '.join(HVP_MODES)}, got {mode!r}")
    if not (math.isfinite(step) and step > 0):
        raise InvalidInput(f"expected a step above 0, got {step!r}")
    if images.ndim < 2 or not images.is_floating_point():
        raise InvalidInput(
            "expected floating-point images of shape (n, c, h, w), "
            f"got {images.dtype} of shape {tuple(images.shape)}"
        )
